//! What `grain` says, in two languages, in one table.

use crate::lang::Lang;
use crate::output::counted;
use headsaw::grain::{Loss, Word};
use headsaw::plan::Overlap;

/// Below it a gain is shown as 1.00 ×, which is none.
const EVEN: f64 = 1.005;

/// In a language.
pub fn of(lang: Lang) -> &'static Words {
    match lang {
        Lang::En => &ENGLISH,
        Lang::Zh => &CHINESE,
    }
}

/// The devices are GPUs.
pub type Gpu = bool;

/// What the first line tells.
pub struct First<'a> {
    pub gpu: Gpu,
    pub heads: u32,
    /// How many chunks of how many heads, where they are of several.
    pub chunks: Option<(u32, u32)>,
    pub steps: u32,
    pub units: u32,
    /// Of a unit.
    pub milliseconds: &'a str,
    /// The verdict.
    pub word: &'a str,
    pub why: &'a str,
}

/// What a change costs and brings.
pub struct Price {
    /// Sequences and tokens of prompts that go through together then, where these change.
    pub prompts: Option<(u32, u32)>,
    /// Seconds of a layer then ÷ now.
    pub longer: f64,
    /// Devices then and now, where they change.
    pub devices: Option<(u32, u32)>,
    /// Tokens then ÷ now.
    pub rows: f64,
    /// What heads lose then and now, where it changes.
    pub lost: Option<(String, String)>,
    /// That is of one half of the tokens.
    pub of_halves: bool,
}

/// All sentences.
pub struct Words {
    /// Whose they are.
    pub lang: Lang,
    /// The answer in a sentence.
    pub first: fn(First) -> String,
    /// The verdict in a word.
    pub word: fn(Word) -> &'static str,
    /// Model, cluster, tp, pp, replicas.
    pub cut: fn(&str, &str, usize, usize, u32) -> String,
    /// A micro-batch of prompts: sequences, tokens, cached before.
    pub prompt: fn(u32, u32, u32) -> String,
    /// One of generation: sequences, cached.
    pub decode: fn(u32, u32) -> String,
    /// The heading of the levels.
    pub levels: &'static str,
    /// Its columns.
    pub holds: [&'static str; 10],
    /// The heading of the losses.
    pub losses: &'static str,
    /// Its columns.
    pub shares: [&'static str; 10],
    /// Levels by their names: replica, device, chunk.
    pub level: fn(&str) -> &'static str,
    /// The heading of the four numbers.
    pub numbers: &'static str,
    /// What they are: ideal, on the device's lanes, with real steps, measured.
    pub number_names: [&'static str; 4],
    /// Units, slots one by one, slots overlapped.
    pub slots: fn(u32, u32) -> String,
    /// Behind the slots: lanes.
    pub lanes: fn(u32) -> String,
    /// Seconds of units alone.
    pub real: &'static str,
    /// Not measured.
    pub not_measured: &'static str,
    /// Behind the slots: the bubble in percent.
    pub bubble: fn(&str) -> String,
    /// The heading of the verdict.
    pub verdict: &'static str,
    /// Verdict on heads of a device: heads, load, word.
    pub judged: fn(Gpu, u32, &str, Word) -> String,
    /// One head takes as long as so many; at least so many.
    pub one_as_long: fn(u32, bool) -> String,
    /// Heads, the fewest that are enough, percent lost, the allowed loss.
    pub below: fn(Gpu, u32, u32, &str, &str) -> String,
    /// Enough: heads, the fewest.
    pub enough: fn(Gpu, u32, u32) -> String,
    /// The largest loss, its percent.
    pub largest: fn(&str, &str) -> String,
    /// Operations a byte, the balance.
    pub memory: fn(&str, &str) -> String,
    /// Devices, speed-up: splitting further.
    pub faster_with: fn(u32, &str) -> String,
    /// Devices, now ÷ half of them.
    pub faster_than: fn(u32, &str) -> String,
    /// Devices, half of them ÷ now.
    pub slower_than: fn(u32, &str) -> String,
    /// Chunk, the smallest that is enough, percent lost.
    pub chunk_fine: fn(u32, u32, &str) -> String,
    /// The smallest that still are efficient: allowed loss, heads, the model's heads, chunk.
    pub smallest: fn(Gpu, &str, u32, u32, u32) -> String,
    /// The heading of what to change.
    pub change: &'static str,
    /// Nothing.
    pub no_change: &'static str,
    /// Behind the flags of a change: what it costs.
    pub price: fn(Price) -> String,
    /// No load up to so many tokens would be enough.
    pub never: fn(u32) -> String,
    /// The layer against the uncut one.
    pub uncut: [&'static str; 2],
    /// Headings of the charts: heads, chunk, steps, tp.
    pub charts: [&'static str; 4],
    /// Columns of the charts: heads, chunk, steps, tp; time, half, exchange, lost.
    pub columns: [&'static str; 8],
    /// Marks: knee, here; of other curves the knee.
    pub marks: [&'static str; 3],
    /// The layer against one whose lanes share every product.
    pub shared: [&'static str; 2],
    /// The step pipeline against that: times as fast, and in words.
    pub pipeline: fn(f64, &str) -> String,
    /// The column of what was measured.
    pub measured: &'static str,
    /// The heading of what was measured beside the prediction.
    pub beside: &'static str,
    /// Its columns.
    pub beside_columns: [&'static str; 5],
    /// Cuts and curves by name.
    pub beside_names: [(&'static str, &'static str); 8],
    /// Rounds, the median error, the worst.
    pub errors: fn(u32, &str, &str) -> String,
    /// The plan against another cut: predicted and measured times as fast, the latter as a number, whether they agree.
    pub ratio: fn(&str, [&str; 2], f64, bool) -> String,
    /// The fastest of a curve, predicted and measured; where they disagree, how much longer the predicted one takes.
    pub fastest: fn(&str, [&str; 2], Option<&str>) -> String,
    /// The heading of overlaps.
    pub overlaps: &'static str,
    /// Its columns: tokens, none, heads, tokens, fastest.
    pub overlap_columns: [&'static str; 6],
    /// An overlap's name.
    pub overlap: fn(Overlap) -> &'static str,
    /// From so many tokens on another is the fastest.
    pub flip: fn(u32, &str, &str) -> String,
    /// None is, over this range.
    pub no_flip: fn(&str, u32, u32) -> String,
    /// A loss by name.
    pub loss: fn(Loss) -> &'static str,
}

fn gpu_or(gpu: Gpu, one: &'static str, other: &'static str) -> &'static str {
    if gpu { one } else { other }
}

const ENGLISH: Words = Words {
    lang: Lang::En,
    first: |First { gpu, heads, chunks, steps, units, milliseconds, word, why }| {
        let chunked =
            chunks.map_or(String::new(), |(count, size)| format!(" in {} of {size}", counted(count.into(), "chunk")));
        let heads = counted(heads.into(), "head");
        let each = if units == 1 { "" } else { " each" };
        format!(
            "The grain of {}: {heads}{chunked} × {} = {} a layer, {milliseconds} ms{each}; {word}, because {why}.",
            gpu_or(gpu, "a GPU", "a device"),
            counted(steps.into(), "step"),
            counted(units.into(), "unit"),
        )
    },
    word: |word| match word {
        Word::TooFine => "too fine",
        Word::TooCoarse => "too coarse",
        Word::Fits => "right",
    },
    cut: |model, cluster, tp, pp, replicas| {
        let of = if replicas == 1 { "one replica".into() } else { counted(replicas.into(), "replica") };
        format!("{model} on {cluster}: tp {tp} × pp {pp}, {of}")
    },
    prompt: |sequences, tokens, past| {
        let before = if past > 0 { format!(", {past} cached before") } else { String::new() };
        let times = if sequences > 1 { format!("{sequences} × ") } else { String::new() };
        format!("{times}{}{before}", counted(tokens.into(), "prompt token"))
    },
    decode: |sequences, past| format!("{} generating, {past} tokens cached", counted(sequences.into(), "sequence")),
    levels: "What each level holds and does between two synchronisations (a device: a layer)",
    holds: ["<level", "heads", "KV", "layers", "columns", "units", "FLOP", "bytes", "FLOP/B", "time"],
    losses: "Where its time goes (shares add up to 100 %)",
    shares: ["<level", "a unit", "exchange", "launch", "bubble", "balance", "KV", "tiles", "sharing", "work"],
    level: |level| match level {
        "replica" => "replica",
        "device" => "device",
        _ => "head chunk",
    },
    numbers: "What overlapping the steps gains",
    number_names: [
        "equal steps, lanes of their own",
        "equal steps, this device's lanes",
        "this model's steps",
        "measured",
    ],
    slots: |serial, slots| format!("{} instead of {serial}", counted(slots.into(), "slot")),
    lanes: |lanes| format!(", on {}", counted(lanes.into(), "lane")),
    real: "of these heads' time one after another",
    not_measured: "not run",
    bubble: |percent| format!("; bubble {percent} (idle ÷ total lane-slots)"),
    verdict: "Verdict",
    judged: |gpu, heads, load, word| {
        let (heads, at) = (counted(heads.into(), "head"), gpu_or(gpu, "a GPU", "a device"));
        match word {
            Word::TooFine => format!("{heads} {at} are too fine at {load}."),
            Word::TooCoarse => format!("{heads} {at} are too coarse at {load}."),
            Word::Fits => format!("{heads} {at} are right at {load}."),
        }
    },
    one_as_long: |heads, all| {
        let of = if all { format!("all {heads}") } else { heads.to_string() };
        format!("attention of 1 head takes as long (within a quarter) as that of {of}")
    },
    below: |gpu, heads, smallest, lost, allowed| {
        format!(
            "{} lose {lost} against {} full of heads; {smallest} would lose {allowed}",
            counted(heads.into(), "head"),
            gpu_or(gpu, "a GPU", "a device"),
        )
    },
    enough: |gpu, heads, smallest| {
        format!(
            "{} fill {}: {} would be enough",
            counted(heads.into(), "head"),
            gpu_or(gpu, "a GPU", "a device"),
            counted(smallest.into(), "head")
        )
    },
    largest: |what, share| format!("the most of a layer's time is lost to {what}: {share}"),
    memory: |intensity, balance| {
        format!("a layer does {intensity} FLOP a byte: below {balance} the memory is the limit, not the tensor cores")
    },
    faster_with: |tp, times| format!("with tp {tp} it would be as efficient and {times} × as fast"),
    faster_than: |tp, times| format!("still {times} × as fast as tp {tp}"),
    slower_than: |tp, times| format!("with tp {tp} it is {times} × as fast"),
    chunk_fine: |chunk, smallest, lost| {
        format!("chunks of {} lose {lost}; {smallest} at a time would do", counted(chunk.into(), "head"))
    },
    smallest: |gpu, allowed, heads, all, chunk| {
        let beyond = if heads > all { format!(" (the model has {all})") } else { String::new() };
        format!(
            "The smallest grain that loses no more than {allowed}: {}{beyond} {}, chunks of {chunk}.",
            counted(heads.into(), "head"),
            gpu_or(gpu, "a GPU", "a device"),
        )
    },
    change: "What to change (each line by itself)",
    no_change: "nothing",
    price: |Price { prompts, longer, devices, rows, lost, of_halves }| {
        let together = |(sequences, tokens)| match sequences {
            1 => format!(" (a prompt of {tokens})"),
            _ => format!(" ({sequences} prompts of {tokens} together)"),
        };
        let mut text = prompts.map_or(String::new(), together);
        text += &match longer {
            slower if slower >= 1.0 => format!(": {slower:.2} × as long a layer"),
            faster => format!(": a layer {:.2} × as fast", 1.0 / faster),
        };
        text += &devices
            .map_or(String::new(), |(then, now)| format!(" on {} instead of {now}", counted(then.into(), "device")));
        text +=
            &if rows > 1.0 { format!(" for {} × the tokens", (100.0 * rows).round() / 100.0) } else { String::new() };
        let of = if of_halves { " by heads of a half of the tokens" } else { "" };
        text + &lost.map_or(String::new(), |(then, now)| format!(", {then} lost{of} instead of {now}"))
    },
    never: |rows| format!("no number of tokens that fits, up to {rows} at a time, is enough for these heads"),
    uncut: ["against the uncut layer", "the whole layer, against all steps in one and all heads at once"],
    shared: ["against lanes without steps", "the whole layer, against the same lanes sharing each product"],
    pipeline: |times, said| {
        let wins = if times > EVEN { "the step pipeline wins" } else { "the step pipeline does not win" };
        format!("on these equal lanes a layer in steps is {said} × as fast as one whose products they share: {wins}")
    },
    measured: "measured",
    beside: "Predicted beside measured: a layer (of serial, chunks and steps its first half)",
    beside_columns: ["<cut", "<", "predicted", "measured", "error"],
    beside_names: [
        ("plan", "this plan"),
        ("serial", "steps one after another"),
        ("shared", "lanes without steps"),
        ("uncut", "uncut layer"),
        ("tp", "tp"),
        ("chunk", "heads of a chunk"),
        ("steps", "steps"),
        ("overlap", "overlap"),
    ],
    errors: |rounds, median, worst| {
        format!("medians of {}; error {median} in the middle, {worst} at worst", counted(rounds.into(), "round"))
    },
    ratio: |about, [predicted, measured], times, agrees| {
        let wins = if times > EVEN { "wins" } else { "does not win" };
        let agrees = if agrees { "agrees" } else { "contradicts the prediction" };
        format!(
            "against {about} this plan is {predicted} as fast by prediction, {measured} by measurement: it {wins}, and the measurement {agrees}"
        )
    },
    fastest: |about, [predicted, measured], behind| match behind {
        None if predicted == measured => {
            format!("{about}: {predicted} is the fastest by prediction and by measurement")
        }
        None => {
            format!("{about}: {predicted} is the fastest by prediction, and {measured} is hardly faster by measurement")
        }
        Some(behind) => format!(
            "{about}: {predicted} is the fastest by prediction; the measurement contradicts, {measured} is, and {predicted} takes {behind} longer"
        ),
    },
    charts: [
        "Attention of one layer by heads on a device",
        "First half of a layer by heads of a chunk",
        "First half of a layer by steps",
        "A layer by devices that share it (tp), all heads in one chunk",
    ],
    columns: ["heads", "heads", "steps", "tp", "time", "half", "exchange", "lost"],
    marks: ["knee", "here", "enough"],
    overlaps: "What hides behind what: a layer of the same tokens",
    overlap_columns: ["tokens", "no overlap", "by heads", "by tokens", "<fastest", "<"],
    overlap: |overlap| match overlap {
        Overlap::None => "no overlap",
        Overlap::Heads => "by heads",
        Overlap::Tokens => "by tokens",
    },
    flip: |rows, from, to| format!("From {rows} tokens on {to} is faster than {from}."),
    no_flip: |which, from, to| format!("From {from} to {to} tokens the fastest is {which}: nothing flips."),
    loss: |loss| match loss {
        Loss::Exchange => "exchanges",
        Loss::Launch => "launching kernels",
        Loss::Bubble => "idle lanes",
        Loss::Imbalance => "unequal devices",
        Loss::ReplicatedKv => "KV heads held more than once",
        Loss::Alignment => "tiles that are not full",
        Loss::Sharing => "lanes in each other's way",
    },
};

const CHINESE: Words = Words {
    lang: Lang::Zh,
    first: |First { gpu, heads, chunks, steps, units, milliseconds, word, why }| {
        let chunked = chunks.map_or(String::new(), |(count, size)| format!("（{count} 块，每块 {size} 个）"));
        format!(
            "{}的粒度：{heads} 个头{chunked} × {steps} 步 = 每层 {units} 个单元，每单元 {milliseconds} ms；{word}：{why}。",
            gpu_or(gpu, "每个 GPU ", "每个设备"),
        )
    },
    word: |word| match word {
        Word::TooFine => "过细",
        Word::TooCoarse => "过粗",
        Word::Fits => "合适",
    },
    cut: |model, cluster, tp, pp, replicas| format!("{model}，{cluster}：tp {tp} × pp {pp}，{replicas} 个副本"),
    prompt: |sequences, tokens, past| {
        let before = if past > 0 { format!("，之前已缓存 {past} 个") } else { String::new() };
        let times = if sequences > 1 { format!("{sequences} × ") } else { String::new() };
        format!("{times}{tokens} 个提示词 token{before}")
    },
    decode: |sequences, past| format!("{sequences} 个序列各生成 1 个 token，已缓存 {past} 个"),
    levels: "各层级持有什么，两次同步之间做多少（设备：一层）",
    holds: ["<层级", "头", "KV", "层", "列", "单元", "FLOP", "字节", "FLOP/B", "时间"],
    losses: "时间去了哪里（各项之和为 100 %）",
    shares: ["<层级", "每单元", "交换", "启动", "气泡", "不均", "KV", "对齐", "争用", "有效"],
    level: |level| match level {
        "replica" => "副本",
        "device" => "设备",
        _ => "头块",
    },
    numbers: "各步重叠能快多少",
    number_names: ["各步等长，各有通道", "各步等长，本设备的通道", "本模型的真实步长", "实测"],
    slots: |serial, slots| format!("{slots} 个时间片，而不是 {serial} 个"),
    lanes: |lanes| format!("，{lanes} 条通道"),
    real: "相对这些头逐个计算",
    not_measured: "未运行",
    bubble: |percent| format!("；气泡 {percent}（空闲 ÷ 全部通道时间片）"),
    verdict: "结论",
    judged: |gpu, heads, load, word| {
        let at = gpu_or(gpu, "每个 GPU", "每个设备");
        let word = match word {
            Word::TooFine => "过细",
            Word::TooCoarse => "过粗",
            Word::Fits => "合适",
        };
        format!("{at} {heads} 个头{word}（{load}）。")
    },
    one_as_long: |heads, all| {
        format!("{}{heads} 个头的注意力与 1 个头的耗时相同（相差不到四分之一）", if all { "全部 " } else { "" })
    },
    below: |gpu, heads, smallest, lost, allowed| {
        format!(
            "{heads} 个头比装满头的{}损失 {lost}，{smallest} 个头才降到 {allowed} 以内",
            gpu_or(gpu, " GPU ", "设备")
        )
    },
    enough: |gpu, heads, smallest| {
        format!("{heads} 个头足以装满一个{}，{smallest} 个就够", gpu_or(gpu, " GPU", "设备"))
    },
    largest: |what, share| format!("一层时间中损失最多的是{what}：{share}"),
    memory: |intensity, balance| {
        format!("一层每字节做 {intensity} 次运算：低于 {balance}，受限于内存带宽而不是张量核心")
    },
    faster_with: |tp, times| format!("tp {tp} 同样高效，速度是它的 {times} 倍"),
    faster_than: |tp, times| format!("速度仍是 tp {tp} 的 {times} 倍"),
    slower_than: |tp, times| format!("tp {tp} 的速度是它的 {times} 倍"),
    chunk_fine: |chunk, smallest, lost| format!("每块 {chunk} 个头损失 {lost}，每块 {smallest} 个就够"),
    smallest: |gpu, allowed, heads, all, chunk| {
        let beyond = if heads > all { format!("（模型只有 {all} 个）") } else { String::new() };
        format!(
            "损失不超过 {allowed} 的最小粒度：{} {heads} 个头{beyond}，每块 {chunk} 个头。",
            gpu_or(gpu, "每个 GPU", "每个设备")
        )
    },
    change: "怎么改（每行各自独立）",
    no_change: "不用改",
    price: |Price { prompts, longer, devices, rows, lost, of_halves }| {
        let mut text = prompts
            .map_or(String::new(), |(sequences, tokens)| format!("（{sequences} 个 {tokens} token 的提示词一起处理）"));
        text += &match longer {
            slower if slower >= 1.0 => format!("：一层耗时为现在的 {slower:.2} 倍"),
            faster => format!("：一层的速度为现在的 {:.2} 倍", 1.0 / faster),
        };
        text += &devices.map_or(String::new(), |(then, now)| format!("，用 {then} 个设备而不是 {now} 个"));
        text +=
            &if rows > 1.0 { format!("，token 数为 {} 倍", (100.0 * rows).round() / 100.0) } else { String::new() };
        let of = if of_halves { "（一半 token 上的头）" } else { "" };
        text + &lost.map_or(String::new(), |(then, now)| format!("，损失{of} {then} 而不是 {now}"))
    },
    never: |rows| format!("放得下的 token 数，一次直到 {rows} 个，都不足以装满这些头"),
    uncut: ["相对不切分的层", "整层，相对所有步合一、所有头一起"],
    shared: ["相对不分步的通道", "整层，相对同样的通道共同计算每个乘积"],
    pipeline: |times, said| {
        let wins = if times > EVEN { "分步流水线更快" } else { "分步流水线并不更快" };
        format!("在这些相同的通道上，分步的一层的速度是共同计算每个乘积的 {said} 倍：{wins}")
    },
    measured: "实测",
    beside: "预测与实测：一层（逐步、块、步数：前半）",
    beside_columns: ["<切法", "<", "预测", "实测", "误差"],
    beside_names: [
        ("plan", "本方案"),
        ("serial", "各步依次"),
        ("shared", "不分步的通道"),
        ("uncut", "不切分的层"),
        ("tp", "tp"),
        ("chunk", "每块头数"),
        ("steps", "步数"),
        ("overlap", "重叠"),
    ],
    errors: |rounds, median, worst| format!("{rounds} 轮的中位数；误差中位 {median}，最大 {worst}"),
    ratio: |about, [predicted, measured], times, agrees| {
        let wins = if times > EVEN { "更快" } else { "并不更快" };
        let agrees = if agrees { "实测与预测一致" } else { "实测与预测矛盾" };
        format!("相对{about}，本方案的速度预测为 {predicted}，实测为 {measured}：{wins}，{agrees}")
    },
    fastest: |about, [predicted, measured], behind| match behind {
        None if predicted == measured => format!("{about}：预测与实测都是 {predicted} 最快"),
        None => format!("{about}：预测 {predicted} 最快，实测 {measured} 几乎不比它快"),
        Some(behind) => {
            format!("{about}：预测 {predicted} 最快；实测与之矛盾，{measured} 最快，{predicted} 要多用 {behind}")
        }
    },
    charts: [
        "一层的注意力，按每个设备的头数",
        "一层的前半，按每块的头数",
        "一层的前半，按步数",
        "一层，按分担它的设备数（tp），所有头作一块",
    ],
    columns: ["头", "头", "步", "tp", "时间", "前半", "交换", "损失"],
    marks: ["拐点", "当前", "足够"],
    overlaps: "什么藏在什么后面：同样多 token 的一层",
    overlap_columns: ["token", "不重叠", "按头", "按 token", "<最快", "<"],
    overlap: |overlap| match overlap {
        Overlap::None => "不重叠",
        Overlap::Heads => "按头",
        Overlap::Tokens => "按 token",
    },
    flip: |rows, from, to| format!("从 {rows} 个 token 起，{to} 快于{from}。"),
    no_flip: |which, from, to| format!("从 {from} 到 {to} 个 token 一直是{which}最快：没有翻转。"),
    loss: |loss| match loss {
        Loss::Exchange => "交换",
        Loss::Launch => "启动内核",
        Loss::Bubble => "空闲的通道",
        Loss::Imbalance => "设备负载不均",
        Loss::ReplicatedKv => "重复保存的 KV 头",
        Loss::Alignment => "没有填满的分块",
        Loss::Sharing => "通道互相争用",
    },
};
