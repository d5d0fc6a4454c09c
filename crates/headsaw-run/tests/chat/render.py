# What Jinja 3.1.6 makes of chat templates, set up as `apply_chat_template` of transformers does it:
#   python render.py > rendered.json
#   python render.py MODEL.gguf > smollm2.json
import json, struct, sys
from datetime import datetime, timezone
from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1_735_646_400
said = lambda *turns: [{"role": role, "content": content} for role, content in turns]
CONVERSATIONS = [
    said(("user", "Hello?")),
    said(("system", " Answer in rhymes. "), ("user", "  Who are you?\n")),
    said(("user", "One & <two> 'three'"), ("assistant", " 1, 2 and 3 \n"), ("user", "Und vier? é 你好 😀")),
    said(("system", "S"), ("user", "q1"), ("assistant", "<think>\nhm\n</think>\n\na1"), ("user", "q2"), ("assistant", "a2"), ("user", "q3")),
    said(("user", "q1"), ("assistant", "<think>\nhm\n</think>\n\na1")),
    said(("user", "q1"), ("user", "q2")),
    said(("user", ""), ("assistant", "x"), ("user", "<tool_response>7</tool_response>")),
]

def refuse(message):
    raise TemplateError(message)

def render(source, messages, bos, eos, asks):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.fromtimestamp(NOW, timezone.utc).strftime(form)
    template = environment.from_string(source)
    given = dict(messages=messages, tools=None, documents=None, add_generation_prompt=asks, bos_token=bos, eos_token=eos)
    try:
        return {"text": template.render(**given)}
    except TemplateError as error:
        return {"refused": str(error)}

def of_gguf(path):
    file = open(path, "rb")
    number = lambda form: struct.unpack("<" + form, file.read(struct.calcsize(form)))[0]
    text = lambda: file.read(number("Q")).decode()
    file.read(16)
    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            kind, count = number("I"), number("Q")
            return [value(kind) for _ in range(count)]
        return number({0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}[kind])
    keys = {text(): value(number("I")) for _ in range(number("Q"))}
    tokens = keys["tokenizer.ggml.tokens"]
    named = lambda name: tokens[keys[f"tokenizer.ggml.{name}_token_id"]]
    return keys["tokenizer.chat_template"], named("bos"), named("eos")

def cases(name, source, bos, eos):
    for messages in CONVERSATIONS:
        for asks in [True, False]:
            yield {"template": name, "messages": messages, "bos": bos, "eos": eos, "asks": asks, **render(source, messages, bos, eos, asks)}

if len(sys.argv) > 1:
    found = list(cases("smollm2", *of_gguf(sys.argv[1])))
else:
    names = ["chatml", "llama3", "mistral", "qwen3", "gemma", "odds"]
    found = [case for name in names for case in cases(name, open(name + ".jinja").read(), "<s>", "</s>")]
print(json.dumps({"now": NOW, "cases": found}, ensure_ascii=False, indent=1))
