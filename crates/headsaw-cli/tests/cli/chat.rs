//! `run --chat`: prompts by a template, and conversations.

use super::*;

/// Questions and answers, for a model that was never taught to talk.
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ {'system': '', 'user': 'Q: ', 'assistant': 'A:'}[m.role] + \
                        m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'A:' }}{% endif %}";

fn template(folder: &Path) -> String {
    file(folder, "qa.jinja", TEMPLATE)
}

/// The objects of a conversation, one an answer.
fn talk(args: &[&str], input: &str) -> (Vec<Value>, Ran) {
    let ran = headsaw_reading(&[args, &["--json"]].concat(), input);
    (ran.out.lines().map(parsed).collect(), ran)
}

#[test]
fn a_template_makes_the_prompt() {
    let template = template(&folder("chat-prompt"));
    let chat = ["run", "demo", "--chat", "--chat-template", &template, "-n", "6"];
    let plain = json(&["run", "demo", "-p", "Be kind.\nQ: Who?\nA:", "-n", "6"]);
    let asked = json(&[&chat[..], &["--system", "Be kind.", "-p", "Who?"]].concat());
    assert_eq!(asked["logits_digest"], plain["logits_digest"]);
    let (output, expected) = (&asked["outputs"][0], &plain["outputs"][0]);
    assert_eq!(output["prompt"], "Who?", "as people wrote it");
    assert_eq!((&output["prompt_tokens"], &output["text"]), (&expected["prompt_tokens"], &expected["text"]));
    // Several prompts are several questions, not a conversation.
    let both = json(&[&chat[..], &["-p", "Who?", "-p", "Why?"]].concat());
    let alone = json(&[&chat[..], &["-p", "Why?"]].concat());
    assert_eq!(both["outputs"][1], alone["outputs"][0]);
}

#[test]
fn a_conversation_keeps_the_cache_and_the_bits() {
    let template = template(&folder("chat-talk"));
    let chat = ["run", "demo", "--chat", "--chat-template", &template, "-n", "12", "--context", "256"];
    let (questions, input) = (["Who are you?", "Why so?", "And then?"], "Who are you?\n\nWhy so?\nAnd then?\n");
    let mut said = String::new();
    let (answers, ran) = talk(&chat, input);
    assert_eq!((ran.code, answers.len()), (0, 3), "{}", ran.err);
    for (turn, (question, answer)) in questions.iter().zip(&answers).enumerate() {
        said += &format!("Q: {question}\nA:");
        let output = &answer["outputs"][0];
        assert_eq!(output["prompt"], *question);
        let anew = json(&["run", "demo", "-p", &said, "-n", "12", "--context", "256"]);
        assert_eq!(answer["logits_digest"], anew["logits_digest"], "turn {turn}: {said}");
        let (tokens, reused) = (output["prompt_tokens"].as_array().unwrap().len(), &output["prompt_tokens_reused"]);
        let reused = reused.as_u64().unwrap() as usize;
        assert_eq!(reused > tokens / 2, turn > 0, "{reused} of {tokens} tokens in turn {turn}");
        assert_eq!(answer["prefill"]["tokens"], tokens - reused);
        said += &format!("{}\n", output["text"].as_str().unwrap());
    }
    for cut in
        [&["--tp", "3"][..], &["--tp", "2", "--pp", "2", "--exchange", "gather"], &["--lanes", "2", "--steps", "3"]]
    {
        let (again, ran) = talk(&[&chat[..], cut].concat(), input);
        assert_eq!(ran.code, 0, "{}", ran.err);
        for (one, other) in again.iter().zip(&answers) {
            assert_eq!(
                (&one["outputs"], &one["logits_digest"]),
                (&other["outputs"], &other["logits_digest"]),
                "{cut:?}"
            );
        }
    }
    let (again, _) = talk(&chat, "Who are you?\nWhy so?\n/clear\nWho are you?\n/quit\nAnd then?\n");
    assert_eq!(again.len(), 3, "nothing after /quit");
    assert_eq!(again[2]["logits_digest"], answers[0]["logits_digest"], "all forgotten");
    let text = headsaw_reading(&chat, input);
    let texts: Vec<&str> = answers.iter().map(|answer| answer["outputs"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text.out, texts.join("\n") + "\n");
    assert!(text.err.contains("[12 tokens, ") && text.err.contains(" of them in the cache]"), "{}", text.err);
}

#[test]
fn a_line_that_does_not_fit_is_left_out_and_the_rest_goes_on() {
    let template = template(&folder("chat-full"));
    let chat = ["run", "demo", "--chat", "--chat-template", &template, "-n", "40", "--context", "60"];
    let (answers, ran) = talk(&chat, &format!("Who?\n{}\n/clear\nWho?\n", "Why? ".repeat(60)));
    assert_eq!((ran.code, answers.len()), (2, 2), "{}", ran.err);
    assert_eq!(answers[0]["logits_digest"], answers[1]["logits_digest"]);
    let said = "the context holds 60: the line is left out; /clear forgets what was said, --context N gives more room";
    assert!(ran.err.contains(said) && ran.err.contains("was made for 512"), "{}", ran.err);
    let long = "Why? ".repeat(60);
    refused(&[&chat[..], &["-p", &long]].concat(), "the context holds 60");
}

#[test]
fn what_chat_can_not_use_is_refused() {
    let folder = folder("chat-refused");
    refused(
        &["run", "demo", "--chat", "-p", "x"],
        "demo: no chat template in it: give --chat-template FILE, or --prompt without --chat",
    );
    refused(&["run", "demo", "--chat"], "give --chat-template FILE");
    refused(&["run", "demo", "--system", "x", "-p", "x"], "--chat");
    refused(&["run", "demo", "--chat-template", "x", "-p", "x"], "--chat");
    refused(&["run", "demo", "--chat", "--logits", "x"], "not of a conversation: give --prompt with --chat");
    let with = |text: &str| {
        let path = file(&folder, "t.jinja", text);
        move |says: &str| refused(&["run", "demo", "--chat", "--chat-template", &path, "-p", "x"], says)
    };
    with("\n{% for %}")("t.jinja: line 2: ");
    with("{{ raise_exception('no') }}")("t.jinja: line 1: it refuses these messages: no");
    with("{% include 'x' %}")("unknown statement include");
    with("{% for i in range(99999) %}{% for i in range(99999) %}{% endfor %}{% endfor %}")("more steps or memory");
    with("")("makes nothing of these messages");
    refused(&["run", "demo", "--chat", "--chat-template", "missing.jinja", "-p", "x"], "missing.jinja: cannot be read");
    let template = template(&folder);
    let chat = ["run", "demo", "--chat", "--chat-template", &template];
    let mut child = command(&chat).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xff\n").unwrap();
    let ran = ended(child);
    assert!(ran.code == 2 && ran.err.contains("not UTF-8"), "{}", ran.err);
}

/// Ctrl-C ends the answer, and the next line is answered; between answers it ends the program.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_answer_and_not_the_conversation() {
    let template = template(&folder("chat-interrupt"));
    let slow = ["--backend", "reference", "--ignore-eos", "-n", "400"];
    let chat = [&["run", "demo", "--chat", "--chat-template", &template][..], &slow].concat();
    let mut child = command(&chat).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Who are you?\n").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    stdin.write_all(b"/quit\n").unwrap();
    let ran = ended(child);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains(", cancelled; prompt "), "{}", ran.err);
}

/// A model that was taught to talk ends its answers by itself, and nobody ends them for it by typing its signs.
#[test]
fn smollm2_talks() {
    let Some(model) = std::env::var("HEADSAW_SMOLLM2").ok() else {
        println!("skipped: no SmolLM2 (HEADSAW_SMOLLM2 is not set; `cargo xtask test` sets it)");
        return;
    };
    let told = "You are a helpful AI assistant.";
    let chat = ["run", &model, "--chat", "--system", told, "-n", "40", "--context", "512"];
    let input = "What is the capital of France?\nSay <|im_end|> and <|im_start|>.\nAnd of Italy?\n";
    let (answers, ran) = talk(&chat, input);
    assert_eq!((ran.code, answers.len()), (0, 3), "{}", ran.err);
    let first = &answers[0]["outputs"][0];
    assert_eq!(first["finish_reason"], "stop");
    assert!(first["text"].as_str().unwrap().contains("Paris"), "{first}");
    let signs = |answer: &Value| {
        let tokens = answer["outputs"][0]["prompt_tokens"].as_array().unwrap().clone();
        tokens.iter().filter(|id| [1, 2].contains(&id.as_u64().unwrap())).count()
    };
    assert_eq!([0, 1, 2].map(|turn| signs(&answers[turn])), [5, 9, 13], "two more a message, whatever it says");
    assert!(answers[2]["outputs"][0]["prompt_tokens_reused"].as_u64() > Some(60), "{}", answers[2]["outputs"]);
    let asked = json(&[&chat[..], &["-p", "What is the capital of France?"]].concat());
    assert_eq!(asked["outputs"][0], *first);
    let plain = headsaw(&["run", &model, "-p", "The capital of France is", "-n", "2"]);
    assert!(!plain.err.contains("--chat"), "nobody watches: {}", plain.err);
}
