//! Nine heads over 2, 4 and 5 devices: who holds what, which KV heads are held twice, which vectors are sent.
//!
//! `cargo run -p headsaw --example 02_cut_nine_heads`

use headsaw::{shard, spec::presets};

fn main() {
    print!("{}", text());
}

/// What is printed.
pub fn text() -> String {
    let model = presets::find("smollm2-135m").expect("a preset");
    let group = model.heads / model.kv_heads;
    let mut text = format!("{}: {} heads, {group} share a KV head\n", model.name, model.heads);
    for tp in [2, 4, 5] {
        let devices = shard::cut_heads(&model, &vec![1.0; tp]);
        text += &format!("\nover {tp} devices\n");
        let (mut kv_held, mut sent) = (0, 0);
        for (device, heads) in devices.iter().enumerate() {
            let kv_heads = heads.start / group..heads.end.div_ceil(group);
            // A partial sum travels as the maximal nodes of the fixed tree inside the device's heads.
            let nodes = shard::nodes(model.heads, heads.clone());
            kv_held += kv_heads.len() as u32;
            sent += nodes.len();
            text += &format!("  device {device}: heads {heads:?}, KV heads {kv_heads:?}, sends {nodes:?}\n");
        }
        text += &format!("  KV heads held: {kv_held} for {}; vectors sent: {sent}\n", model.kv_heads);
    }
    text
}
