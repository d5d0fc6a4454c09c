//! What the demo says, in two languages, in one table.

use clap::ValueEnum;
use headsaw::grain::Speedups;

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English
    En,
    /// 中文
    Zh,
}

impl Lang {
    /// The one that the environment asks for, by the usual order of variables.
    pub fn from_environment() -> Lang {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let wanted = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set).unwrap_or_default();
        if wanted.to_lowercase().starts_with("zh") { Lang::Zh } else { Lang::En }
    }

    /// What to say in it.
    pub fn words(self) -> &'static Words {
        match self {
            Lang::En => &ENGLISH,
            Lang::Zh => &CHINESE,
        }
    }
}

/// All sentences of the demo.
pub struct Words {
    /// Layers, heads, size of the file.
    pub opening: fn(u32, u32, &str) -> String,
    /// Heads, devices, heads a device.
    pub heads: fn(u32, u32, u32) -> String,
    /// Device, stage, heads, KV heads, layers, weights, peak memory.
    pub devices: [&'static str; 7],
    /// Heads a device, steps, units.
    pub steps: fn(u32, u32, u32) -> String,
    /// project, attend, merge.
    pub step_names: [&'static str; 3],
    /// The heading of a slot.
    pub slot: fn(u32) -> String,
    /// A head in a slot.
    pub head: fn(u32) -> String,
    /// Heads, steps, slots one by one, slots overlapped, speed-up, bubble in percent.
    pub slots: fn(u32, u32, u32, u32, f64, f64) -> String,
    /// What overlapping the steps gains.
    pub speedups: fn(&Speedups) -> String,
    /// Before a run: how it is cut.
    pub uncut: fn(u32) -> String,
    /// The even cut: devices, heads each.
    pub even: fn(u32, u32) -> String,
    /// The uneven cut: devices, their heads.
    pub uneven: fn(u32, &str) -> String,
    /// The heading of the digests.
    pub digests: &'static str,
    /// All digests are equal.
    pub same: &'static str,
    /// They are not.
    pub different: &'static str,
    /// The heading of the times.
    pub predicted: &'static str,
    /// Heads; prompt predicted and measured, tokens predicted and measured.
    pub times: [&'static str; 5],
    /// Where the predictions come from.
    pub calibrate: &'static str,
}

/// A speed-up in words: below 1 it is told the other way round.
fn compared(gain: f64, faster: &str, slower: &str) -> String {
    if gain >= 1.0 { format!("{gain:.2} {faster}") } else { format!("{:.1} {slower}", 1.0 / gain) }
}

const ENGLISH: Words = Words {
    opening: |layers, heads, size| {
        format!("A small Transformer ({layers} layers, {heads} heads, {size}, inside this program), cut twice.")
    },
    heads: |heads, devices, each| {
        format!(
            "By heads: {heads} heads over {devices} devices, {each} each. A device holds only its heads, its MLP columns and its\n\
             vocabulary rows, and works alone until the partial results are brought together."
        )
    },
    devices: ["<device", "stage", "heads", "KV heads", "layers", "weights", "peak memory"],
    steps: |heads, steps, units| {
        format!(
            "By steps: a head's work has {steps} steps: project (Q, K, V, rotary), attend (scores, softmax, weighted sum\n\
             of V) and merge (its part of the output projection). {heads} heads × {steps} steps = {units} units a layer on each device.\n\
             Where the steps use lanes of their own, head 2 is in project while head 1 is in attend:"
        )
    },
    step_names: ["project", "attend", "merge"],
    slot: |slot| format!("slot {slot}"),
    head: |head| format!("head {head}"),
    slots: |heads, steps, serial, pipelined, speedup, bubble| {
        format!(
            "{heads} + {steps} − 1 = {pipelined} slots instead of {serial}: {speedup:.1} times as fast, bubble {bubble:.0} %. (The ideal, for equal\n\
             steps on lanes of their own; what follows is run, not drawn.)"
        )
    },
    speedups: |gains| {
        format!(
            "How much faster: {:.2} times in the ideal; {:.2} times with equal steps on three lanes of a device; with this model's\n\
             steps on the cores of this machine, which all lanes share, {} (predicted). Measured: not yet, the runtime does\n\
             each layer's steps on all lanes together.",
            gains.ideal,
            gains.on_lanes,
            compared(gains.with_real_steps, "times as fast", "times slower")
        )
    },
    uncut: |heads| format!("Uncut: 1 device with all {heads} heads"),
    even: |devices, each| format!("Cut: {devices} devices × {each} heads"),
    uneven: |devices, heads| format!("Cut unevenly: {devices} devices with {heads} heads"),
    digests: "Digest of all logits that were sampled from",
    same: "The same bits under every cut.",
    different: "The bits differ: this must not happen, please report it.",
    predicted: "Predicted and measured, in milliseconds",
    times: ["<heads", "prompt predicted", "measured", "tokens predicted", "measured"],
    calibrate: "(Predicted by playing the same program with the figures of two Zen 4 cores; `headsaw calibrate` takes those of\n\
                this machine, `headsaw grain` and `headsaw simulate` answer for other machines.)",
};

const CHINESE: Words = Words {
    opening: |layers, heads, size| {
        format!("一个小 Transformer（{layers} 层，{heads} 个头，{size}，内嵌在本程序中），切两次。")
    },
    heads: |heads, devices, each| {
        format!(
            "按头切：{heads} 个头分给 {devices} 个设备，每个设备 {each} 个头。设备只保存自己的头、MLP 列和词表行，\n\
             各自独立计算，直到需要把部分结果合并。"
        )
    },
    devices: ["<设备", "阶段", "头", "KV 头", "层", "权重", "内存峰值"],
    steps: |heads, steps, units| {
        format!(
            "按步切：一个头的工作分为 {steps} 步：project（Q、K、V 与旋转位置编码）、attend（打分、softmax、对 V 加权求和）、\n\
             merge（输出投影中属于该头的部分）。每个设备每层 {heads} 个头 × {steps} 步 = {units} 个工作单元。\n\
             各步使用各自的通道时，头 1 进入 attend，头 2 同时进入 project："
        )
    },
    step_names: ["project", "attend", "merge"],
    slot: |slot| format!("时间片 {slot}"),
    head: |head| format!("头 {head}"),
    slots: |heads, steps, serial, pipelined, speedup, bubble| {
        format!(
            "{heads} + {steps} − 1 = {pipelined} 个时间片，而不是 {serial} 个：快 {speedup:.1} 倍，气泡 {bubble:.0} %。（这是理想值：各步耗时相等、\n\
             各有通道；下面是真实运行，不是示意图。）"
        )
    },
    speedups: |gains| {
        format!(
            "能快多少：理想值 {:.2} 倍；各步等长、每个设备三条通道，{:.2} 倍；\n\
             按本模型的真实步长、所有通道共享本机核心，{}（预测）；实测：尚无，运行时各通道一起做每一步。",
            gains.ideal,
            gains.on_lanes,
            compared(gains.with_real_steps, "倍", "倍的耗时，反而更慢")
        )
    },
    uncut: |heads| format!("不切：1 个设备，全部 {heads} 个头"),
    even: |devices, each| format!("均匀切分：{devices} 个设备 × {each} 个头"),
    uneven: |devices, heads| format!("不均匀切分：{devices} 个设备，头数 {heads}"),
    digests: "采样所用全部 logits 的摘要",
    same: "无论怎么切，每一位都相同。",
    different: "结果不一致：这不应该发生，请报告。",
    predicted: "预测与实测（毫秒）",
    times: ["<头", "提示 预测", "实测", "生成 预测", "实测"],
    calibrate: "（预测：用两个 Zen 4 核心的数据推演同一个程序；headsaw calibrate 测量本机，headsaw grain 与 headsaw simulate\n\
                回答其他机器的情况。）",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slower_is_said_to_be() {
        let gains =
            Speedups { ideal: 1.5, on_lanes: 1.5, with_real_steps: 1.0 / 3.0, against_uncut: 1.0, measured: None };
        let told = |lang: Lang| (lang.words().speedups)(&gains);
        assert!(told(Lang::En).contains("3.0 times slower") && told(Lang::Zh).contains("3.0 倍的耗时"));
        let gains = Speedups { with_real_steps: 1.25, ..gains };
        assert!((Lang::En.words().speedups)(&gains).contains("1.25 times as fast"));
    }
}
