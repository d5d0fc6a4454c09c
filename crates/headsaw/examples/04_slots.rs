//! The small pipeline of one device, in slots: which steps overlap, on which lanes, and what stays idle.
//!
//! `cargo run -q -p headsaw --example 04_slots -- heads=2 times=1:1:1 lanes=0:1:2 micros=1` says it; with `svg` behind it
//! draws it, with `lang=zh` in Chinese. What is played is the program that `headsaw run` would run, priced in slots.

use headsaw::draw::{Lang, Picture, View, svg::svg, terminal};
use headsaw::plan::Overlap;
use headsaw::units::Seconds;
use std::slice::from_ref;

#[allow(dead_code)] // the tests need more of it
#[path = "../tests/shared/eight.rs"]
mod eight;
use eight::{Case, EXAMPLE};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match answer(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(text) => print!("{text}"),
        Err(wrong) => {
            eprintln!("error: {wrong}: expected heads=2 times=1:1:1 lanes=0:1:2 micros=1 lang=en svg, or some of them");
            std::process::exit(2);
        }
    }
}

/// What the example prints for its arguments.
pub fn answer(args: &[&str]) -> Result<String, String> {
    let (mut case, mut times) = (Case { devices: 1, ..EXAMPLE }, [1.0; 3]);
    let (mut drawn, mut lang) = (false, Lang::En);
    for arg in args {
        let wrong = || arg.to_string();
        match arg.split_once('=') {
            Some(("heads", n)) => case.heads = count(n).ok_or_else(wrong)?,
            Some(("micros", n)) => case.micros = count(n).ok_or_else(wrong)?,
            Some(("times", of)) => times = three(of, |t: &f64| (0.01..100.0).contains(t)).ok_or_else(wrong)?,
            Some(("lanes", of)) => case.lanes = three(of, |lane: &u32| *lane < 3).ok_or_else(wrong)?,
            Some(("lang", "en")) => lang = Lang::En,
            Some(("lang", "zh")) => lang = Lang::Zh,
            None if *arg == "svg" => drawn = true,
            _ => return Err(wrong()),
        }
    }
    case.overlap = if case.micros > 1 { Overlap::Tokens } else { Overlap::Heads };
    let (program, rounds, trace) = case.played(times);
    let title = title(&case, lang);
    let view = View { title, slot: Some(Seconds(1.0)), ..View::default() };
    let picture = Picture::new(&program, &trace, Some(&rounds), view);
    Ok(if drawn { svg(from_ref(&picture), lang) } else { said(&case, times, &picture, lang) })
}

/// The time in slots, what of it is idle, and the picture in letters.
fn said(case: &Case, times: [f64; 3], picture: &Picture, lang: Lang) -> String {
    let serial = times.iter().sum::<f64>() * f64::from(case.heads * case.micros);
    let (slots, idle) = (picture.seconds(), picture.bubble());
    let drawn = terminal::plain(&terminal::terminal(from_ref(picture), 76, lang));
    let (gain, over) = (serial / slots, 100.0 * idle / (1.0 - idle));
    let idle = 100.0 * idle;
    match lang {
        Lang::En => format!(
            "{slots} slots instead of {serial}: {gain:.2} × as fast\nbubble {idle:.1} % (idle ÷ total), {over:.1} % (idle ÷ busy)\n\n{drawn}"
        ),
        Lang::Zh => format!(
            "{slots} 个时间片，而不是 {serial} 个：{gain:.2} 倍\n气泡 {idle:.1} %（空闲 ÷ 全部），{over:.1} %（空闲 ÷ 忙碌）\n\n{drawn}"
        ),
    }
}

fn title(case: &Case, lang: Lang) -> String {
    let Case { heads, micros, .. } = case;
    let several = |text: String| if *micros > 1 { text } else { String::new() };
    let lanes = |comma: &str| case.lanes.map(|lane| lane.to_string()).join(comma);
    match lang {
        Lang::En => {
            format!("{}{heads} heads × 3 steps on lanes {}", several(format!("{micros} micro-batches × ")), lanes(", "))
        }
        Lang::Zh => {
            format!("{}{heads} 个头 × 3 步，通道 {}", several(format!("{micros} 个微批次 × ")), lanes("、"))
        }
    }
}

/// 1 to 64.
fn count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|n| (1..=64).contains(n))
}

fn three<T: std::str::FromStr>(text: &str, fits: impl Fn(&T) -> bool) -> Option<[T; 3]> {
    let parsed: Result<Vec<T>, _> = text.split(':').map(str::parse).collect();
    <[T; 3]>::try_from(parsed.ok()?).ok().filter(|three| three.iter().all(fits))
}
