# Token ids by llama.cpp: python tokens.py MODEL.gguf NAME > NAME.json
import json, sys
from llama_cpp import Llama
TEXTS = ["", "Hello, world!", "Hello world", " leading space", "trailing space ", "two  spaces   three", "\n", "\n\n\nnew lines\n", "\ttab\tand \r\n crlf",
 "1", "12", "1234567890", "3.14159 + 2,71828 = 5.85987", "it's we'll I'M DON'T", "snake_case camelCase HTTPServer", "你好，世界。", "日本語のテキスト", "한국어 문장",
 "Привет, мир", "مرحبا", "é e\u0301 ñ ü", "😀 👩‍👩‍👧 🇩🇪", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ ½ ²", "fn main() {\n    println!(\"{}\", x[0] / 2);\n}", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "a<|endoftext|>b", "<s>[INST] x [/INST]", "<|im_start", "!!!???...;;;", "\u00a0nbsp\u200bzero\u3000wide", "the quick brown fox jumps over the lazy dog" * 3, "ÿþ\x00\x01\x7f"]
m = Llama(sys.argv[1], vocab_only=True, verbose=False)
out = []
for t in TEXTS:
    b = t.encode()
    out.append({"text": t, "special": m.tokenize(b, add_bos=True, special=True), "plain": m.tokenize(b, add_bos=True, special=False)})
json.dump({"from": sys.argv[2], "tokens": out}, sys.stdout, ensure_ascii=True, indent=None)
