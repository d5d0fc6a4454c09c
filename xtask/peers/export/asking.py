"""How an engine is asked: a list of cases comes in on stdin, what it says to each goes out as stdout's last line.

A case has `name`, `argv` (flags with values), `environment`, `files` (name: text), `config` (the model as a Hugging Face
config.json) and `devices`. An answer is {"tp", "layers"} as the engine itself read them, or {"refused": its words}.
"""

import contextlib
import io
import json
import os
import sys
import tempfile


def first_line(error):
    """The words of a refusal, in one line, without what differs from run to run."""
    words = " ".join(str(error).split()) or type(error).__name__
    return f"{type(error).__name__}: {words}"[:400]


def filled(words, values):
    """What a shell would put in."""
    for name, value in values.items():
        words = [word.replace(f"${name}", value) for word in words]
    return words


def ask(answer, version):
    """Asks about each case, in a folder of its own that has its files and, as `model`, its config.json."""
    cases = json.load(sys.stdin)
    talk, sys.stdout = sys.stdout, sys.stderr
    answers = {}
    for case in cases:
        before = dict(os.environ)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            os.mkdir("model")
            for name, text in {**case["files"], "model/config.json": json.dumps(case["config"])}.items():
                with open(name, "w") as file:
                    file.write(text)
            os.environ.update(case["environment"])
            case["argv"] = filled(case["argv"], {"MODEL": os.path.abspath("model"), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1"})
            noise = io.StringIO()
            try:
                with contextlib.redirect_stderr(noise), contextlib.redirect_stdout(noise):
                    answers[case["name"]] = answer(case)
            except SystemExit:
                said = [line for line in noise.getvalue().splitlines() if "error" in line.lower()]
                answers[case["name"]] = {"refused": " ".join((said or ["exits"])[-1].split())[:400]}
            except Exception as error:
                answers[case["name"]] = {"refused": first_line(error).replace(folder, ".")}
        os.environ.clear()
        os.environ.update(before)
    print("\n" + json.dumps({"version": version, "answers": answers}), file=talk)
