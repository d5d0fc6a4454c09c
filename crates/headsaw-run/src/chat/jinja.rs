//! Jinja as Hugging Face's `apply_chat_template` sets it up, within bounds.

use super::{Message, Setting, TemplateError, date, json};
use crate::weights::show;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value, context};
use minijinja_contrib::pycompat;
use regex::Regex;
use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::LazyLock;

/// Steps of a template, a step also for every 64 bytes that it makes or looks through: so many at least, more for each
/// message and its text, and never more than a million.
const FUEL: u64 = 50_000;
const FUEL_A_MESSAGE: u64 = 1000;
const FUEL_MAX: u64 = 1_000_000;
/// Text that comes out: so much beside eight times the messages.
const OUTPUT_BYTES: usize = 1 << 20;
/// Calls within calls.
const RECURSION_MAX: usize = 100;
/// A value can be nested as deep as there are steps, and is dropped recursively (1.5 KB a level measured, some 8 steps
/// each): more than the deepest needs. Only what is used is ever backed by memory.
const STACK_BYTES: usize = 256 << 20;

/// Does it compile?
pub(super) fn check(name: &str, source: &str) -> Result<(), TemplateError> {
    let source = plain(source);
    apart(name, || environment(0).template_from_named_str(name, &source).map(drop))
}

/// The text of these messages.
pub(super) fn render(
    name: &str,
    source: &str,
    messages: &[Message],
    setting: &Setting,
) -> Result<String, TemplateError> {
    let source = plain(source);
    let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
    let fuel = FUEL + FUEL_A_MESSAGE * messages.len() as u64 + bytes as u64 / 4;
    apart(name, || {
        let mut environment = environment(setting.now);
        environment.set_fuel(Some(fuel.min(FUEL_MAX)));
        let template = environment.template_from_named_str(name, &source)?;
        let said = |m: &Message| context! { role => m.role.name(), content => &m.content[..] };
        let given = context! {
            messages => messages.iter().map(said).collect::<Vec<Value>>(),
            tools => (),
            documents => (),
            add_generation_prompt => setting.asks,
            bos_token => setting.bos,
            eos_token => setting.eos,
        };
        let mut out = Bounded { text: Vec::new(), most: OUTPUT_BYTES + 8 * bytes };
        template.render_captured_to(given, &mut out)?;
        String::from_utf8(out.text).map_err(|_| Error::new(ErrorKind::WriteFailure, "text that is not UTF-8"))
    })
}

/// On a thread with a large stack; errors become ours.
fn apart<T: Send>(name: &str, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, TemplateError> {
    let wrong = |line, what| TemplateError { name: name.into(), line, what };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("headsaw template".into()).stack_size(STACK_BYTES);
        let spawned = thread.spawn_scoped(scope, || work().map_err(|error| wrong(error.line(), explain(&error))));
        let spawned = spawned.map_err(|error| wrong(None, format!("no thread to render it: {error}")))?;
        spawned.join().unwrap_or_else(|_| Err(wrong(None, "the template engine gave up".into())))
    })
}

fn explain(error: &Error) -> String {
    let detail = error.detail().map(show);
    match (error.kind(), detail) {
        (ErrorKind::OutOfFuel, _) => "it takes more steps or memory than a chat template may".into(),
        (ErrorKind::WriteFailure, _) => "it writes more text than a chat template may".into(),
        (ErrorKind::SyntaxError, Some(detail)) => format!("no Jinja of chat templates: {detail}"),
        (ErrorKind::InvalidOperation, Some(detail)) => detail,
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

fn environment<'source>(now: u64) -> Environment<'source> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |what: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("it refuses these messages: {what}")))
    });
    environment.add_function("strftime_now", move |format: &str| date::strftime(format, now));
    environment
}

/// Python's methods. What they look through costs steps too.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let bytes = value.as_str().map_or(0, str::len) + args.iter().filter_map(Value::as_str).map(str::len).sum::<usize>();
    state.consume_fuel(bytes as u64 / 64)?;
    if value.kind() == ValueKind::String && name == "format" {
        return Err(Error::from(ErrorKind::UnknownMethod)); // a width of a billion would be free
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

/// `tojson(indent=none)`; Python's other arguments change nothing that templates rely on.
fn tojson(state: &State, value: &Value, args: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = args.get("indent")?;
    json::write(state, value, indent).map(Value::from)
}

/// Hugging Face marks what the model says with `{% generation %}`, for training; here it changes nothing.
fn plain(source: &str) -> Cow<'_, str> {
    static MARK: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})").expect("it compiles"));
    MARK.replace_all(source, |found: &regex::Captures| {
        let word = if found.get(2).is_some() { "endif" } else { "if true" };
        format!("{}{word}{}", &found[1], &found[3])
    })
}

/// Takes so much text and no more.
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.most {
            return Err(io::Error::other("more than a template may write"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
