//! What the demo says, in two languages, in one table.

use crate::lang::Lang;

/// All sentences of the demo.
pub struct Words {
    /// Layers, heads, size of the file.
    pub opening: fn(u32, u32, &str) -> String,
    /// Heads, devices, heads a device.
    pub heads: fn(u32, u32, u32) -> String,
    /// Heads a device, steps, units.
    pub steps: fn(u32, u32, u32) -> String,
    /// The heading of a slot.
    pub slot: fn(u32) -> String,
    /// A head in a slot.
    pub head: fn(u32) -> String,
    /// Heads, steps, slots one by one, slots overlapped, bubble in percent.
    pub slots: fn(u32, u32, u32, u32, f64) -> String,
    /// Before the text.
    pub uncut: &'static str,
    /// The heading of the digests.
    pub digests: &'static str,
    /// All digests are equal.
    pub same: &'static str,
    /// They are not.
    pub different: &'static str,
    /// The heading of the pictures: devices.
    pub layer: fn(u32) -> String,
    /// The heading of the times: tokens of the passage, rounds.
    pub predicted: fn(usize, usize) -> String,
    /// Step, predicted, measured, error.
    pub columns: [&'static str; 4],
    /// Steps of no head.
    pub rest: &'static str,
    /// The passage, from beginning to end.
    pub passage: &'static str,
    /// Where the predictions come from.
    pub calibrate: &'static str,
    /// The heading of the four numbers.
    pub gains: &'static str,
    /// Columns of these.
    pub slots_heading: &'static str,
    pub gain_heading: &'static str,
    /// The ideal, on this device's lanes, with this model's steps.
    pub gain_names: [&'static str; 3],
    /// As it was run: rounds.
    pub measured: fn(usize) -> String,
    /// Why there is no gain: lanes, cores.
    pub shared: fn(usize, usize) -> String,
    /// Why there is none where every lane has a core.
    pub fine: &'static str,
    /// The title of the page: heads, devices.
    pub title: fn(u32, u32) -> String,
    /// The page was written.
    pub wrote: fn(&str) -> String,
}

/// Those of a language.
pub fn of(lang: Lang) -> &'static Words {
    match lang {
        Lang::En => &ENGLISH,
        Lang::Zh => &CHINESE,
    }
}

const ENGLISH: Words = Words {
    opening: |layers, heads, size| {
        format!("A small Transformer ({layers} layers, {heads} heads, {size}, built in), cut twice.")
    },
    heads: |heads, devices, each| {
        format!(
            "By heads: {heads} heads over {devices} devices, {each} each. A device holds only its heads, MLP\n\
             columns and vocabulary rows, and works alone until parts are brought together."
        )
    },
    steps: |heads, steps, units| {
        format!(
            "By steps: a head goes through {steps}: project (Q, K, V, rotary), attend (scores,\n\
             softmax, weighted sum of V), merge (its part of the output projection). {heads} heads\n\
             × {steps} steps = {units} units a layer on each device. With a lane for each step:"
        )
    },
    slot: |slot| format!("slot {slot}"),
    head: |head| format!("head {head}"),
    slots: |heads, steps, serial, pipelined, bubble| {
        format!(
            "{heads} + {steps} − 1 = {pipelined} slots instead of {serial}, counted in the program: {:.1} times as fast,\n\
             bubble {bubble:.0} %. That is the ideal, for equal steps; the rest of this is run.",
            f64::from(serial) / f64::from(pipelined)
        )
    },
    uncut: "Uncut, on 1 device:",
    digests: "Digest of all logits, by heads of the devices (2+2+2+2: with 3 steps a head)",
    same: "The same bits under every cut.",
    different: "The bits differ: this must not happen, please report it.",
    layer: |_| "One layer on device 0 (heads 0 and 1 are head 1 and 2 above)".into(),
    predicted: |tokens, rounds| {
        format!("{tokens} tokens read, all lanes together; measured: the fastest of {rounds} rounds")
    },
    columns: ["<step", "predicted", "measured", "error"],
    rest: "all else",
    passage: "first start to last end",
    calibrate: "  (Predicted for two Zen 4 cores; `headsaw calibrate` measures this machine.)\n",
    gains: "How much faster a layer's heads are when their steps overlap",
    slots_heading: "slots",
    gain_heading: "gain",
    gain_names: [
        "ideal: equal steps, a lane each",
        "equal steps on the lanes of this device",
        "this model's steps on this machine, predicted",
    ],
    measured: |rounds| format!("as it was run: overlap none ÷ heads, median of {rounds}"),
    shared: |lanes, cores| {
        format!(
            "  Below 1 because {lanes} lanes share {cores} cores: they can not work side by side, and\n  \
             each hand-over between lanes costs time. Overlapping steps can not pay then.\n"
        )
    },
    fine: "  Below 1: the units are so small that handing them over costs more than it hides.\n",
    title: |heads, devices| format!("headsaw demo: one layer, {heads} heads over {devices} devices, 3 steps a head"),
    wrote: |path| format!("All devices, to zoom into: {path}\n"),
};

const CHINESE: Words = Words {
    opening: |layers, heads, size| {
        format!("一个小 Transformer（{layers} 层，{heads} 个头，{size}，内嵌在本程序中），切两次。")
    },
    heads: |heads, devices, each| {
        format!(
            "按头切：{heads} 个头分给 {devices} 个设备，每个设备 {each} 个头。设备只保存自己的头、MLP 列和\n\
             词表行，各自独立计算，直到需要把部分结果合并。"
        )
    },
    steps: |heads, steps, units| {
        format!(
            "按步切：一个头分 {steps} 步：投影（project：Q、K、V 与旋转位置编码）、注意力（attend：\n\
             打分、softmax、对 V 加权求和）、合并（merge：输出投影中属于该头的部分）。每个\n\
             设备每层 {heads} 个头 × {steps} 步 = {units} 个工作单元。每步一条通道时："
        )
    },
    slot: |slot| format!("时间片 {slot}"),
    head: |head| format!("头 {head}"),
    slots: |heads, steps, serial, pipelined, bubble| {
        format!(
            "{heads} + {steps} − 1 = {pipelined} 个时间片，而不是 {serial} 个（在程序中数出）：快 {:.1} 倍，气泡 {bubble:.0} %。\n\
             这是各步耗时相等时的理想值；下面都是真实运行。",
            f64::from(serial) / f64::from(pipelined)
        )
    },
    uncut: "不切，1 个设备：",
    digests: "全部 logits 的摘要，按各设备的头数（2+2+2+2：每个头 3 步）",
    same: "无论怎么切，每一位都相同。",
    different: "结果不一致：这不应该发生，请报告。",
    layer: |_| "设备 0 上的一层（图中的头 0、1 即上面的头 1、2）".into(),
    predicted: |tokens, rounds| format!("读入 {tokens} 个 token，所有通道之和；实测取 {rounds} 轮中最快的一轮"),
    columns: ["<步", "预测", "实测", "误差"],
    rest: "其余",
    passage: "从开始到结束",
    calibrate: "  （按两个 Zen 4 核心预测；`headsaw calibrate` 测量本机。）\n",
    gains: "各步重叠时，一层的头能快多少",
    slots_heading: "时间片",
    gain_heading: "加速",
    gain_names: ["理想：各步等长，各有通道", "各步等长，在本设备的通道上", "本模型的真实步长，在本机上（预测）"],
    measured: |rounds| format!("实测：不重叠 ÷ 重叠，{rounds} 轮的中位数"),
    shared: |lanes, cores| {
        format!(
            "  小于 1，因为 {lanes} 条通道共用 {cores} 个核心：它们无法同时工作，而通道之间的\n  \
             每次交接都要花时间。这样重叠各步，什么也得不到。\n"
        )
    },
    fine: "  小于 1：工作单元太小，交接的代价大于能隐藏的时间。\n",
    title: |heads, devices| format!("headsaw demo：一层，{heads} 个头，{devices} 个设备，每个头 3 步"),
    wrote: |path| format!("全部设备，可以缩放：{path}\n"),
};
