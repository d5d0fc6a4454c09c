//! The cut never changes a bit: one model, many cuts, one digest.

use headsaw::lower::work;
use headsaw::plan::{CutRequest, Exchange, Flow as Steps, HeadSteps, Order, Overlap, Plan, cut};
use headsaw::spec::model::{Dtype, Family, ModelSpec};
use headsaw::spec::workload::{Activations, KvDtype, Numerics, Workload};
use headsaw_run::compute::{self, Compute, Isa};
use headsaw_run::generate::{Engine, Event, Flow, Options, Report};
use headsaw_run::testing::{q4_k_m, random_mix, random_model, small_spec};
use headsaw_run::weights::{ModelFile, Weight};
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// One way to run a model.
#[derive(Debug, Clone)]
struct Way {
    tp: u32,
    pp: u32,
    lanes: u32,
    exchange: Exchange,
    order: Order,
    weights: Vec<f64>,
    tokens: u32,
    micros: u32,
    batch: u32,
    numerics: Numerics,
    steps: Option<Steps>,
    /// Lanes of the step cut's parts; none: in turn.
    step_lanes: Vec<u32>,
    others: Option<u32>,
}

fn numerics(activations: Activations, kv: KvDtype) -> Numerics {
    Numerics { activations, kv }
}

impl Way {
    fn plain() -> Way {
        Way {
            tp: 1,
            pp: 1,
            lanes: 1,
            exchange: Exchange::Reduce,
            order: Order::Pipelined,
            weights: vec![],
            tokens: 512,
            micros: 1,
            batch: 1,
            numerics: numerics(Activations::Int8, KvDtype::F16),
            steps: None,
            step_lanes: vec![],
            others: None,
        }
    }

    fn plan(&self, model: &ModelSpec, prompts: usize) -> Plan {
        let workload = Workload {
            batch: self.batch,
            tokens: self.tokens,
            micros: self.micros,
            context: model.context.min(1024),
            sequences: prompts as u32,
            numerics: self.numerics,
        };
        let request = CutRequest {
            tp: self.tp,
            pp: self.pp,
            device_weights: self.weights.clone(),
            lanes: self.lanes,
            exchange: self.exchange,
            order: self.order,
        };
        let plan = cut(model, workload, &request).expect("a cut within the model's limits");
        let held = work::heads_most(&plan);
        let fits = |steps: Steps| Steps { chunk: steps.chunk.min(held), ..steps };
        Plan { steps: self.steps.clone().map(|steps| self.head_steps(fits(steps))), ..plan }
    }

    fn head_steps(&self, mut flow: Steps) -> HeadSteps {
        if self.order == Order::Sequential || flow.overlap == Overlap::None {
            flow.interleave = 1;
        }
        flow.interleave = flow.interleave.min(self.micros);
        if flow.interleave == 1 && flow.overlap == Overlap::Tokens {
            flow.overlap = Overlap::Heads;
        }
        let mut steps = HeadSteps::in_turn(flow, self.lanes);
        for (lane, wanted) in steps.lanes.iter_mut().zip(&self.step_lanes) {
            *lane = wanted % self.lanes;
        }
        steps.others = self.others.map(|lane| lane % self.lanes);
        steps
    }
}

fn run(file: &ModelFile, way: &Way, compute: Arc<dyn Compute>, prompts: &[Vec<u32>], tokens: usize) -> Report {
    let plan = way.plan(file.spec(), prompts.len());
    let mut engine = Engine::load(file, &plan, compute, &mut |_| {}).unwrap_or_else(|error| panic!("{way:?}: {error}"));
    engine.generate(prompts, &Options::greedy(tokens), &mut |_| Flow::Continue).unwrap()
}

fn fast() -> Arc<dyn Compute> {
    compute::cpu(None).unwrap()
}

fn file(spec: &ModelSpec, seed: u64, dtype: Dtype) -> ModelFile {
    ModelFile::from_bytes(random_model(spec, seed, dtype).leak()).unwrap()
}

/// Digests of the run and of each prompt, and the tokens.
fn results(report: &Report) -> Vec<(String, Vec<u32>)> {
    let hex = |digest: &[u8; 32]| blake3::Hash::from(*digest).to_hex().to_string();
    let outputs = report.outputs.iter().map(|output| (hex(&output.logits_digest), output.tokens.clone()));
    outputs.chain([(hex(&report.logits_digest), vec![])]).collect()
}

prop_compose! {
    fn any_spec()(
        groups in 1u32..4, group in 1u32..4, head_width in prop::sample::select(vec![8u32, 24, 32, 40, 64, 80]),
        layers in 1u32..4, ffn in 1u32..9, odd in any::<bool>(), tied in any::<bool>(),
        family in prop::sample::select(vec![Family::Llama, Family::Qwen2, Family::Qwen3]), wider in 0u32..3,
    ) -> ModelSpec {
        ModelSpec {
            heads: groups * group,
            kv_heads: groups,
            head_width,
            width: groups * group * head_width + 40 * wider,
            layers,
            ffn: if odd { 32 * ffn - 7 } else { 32 * ffn },
            vocab: 300,
            context: 64,
            tied,
            ..small_spec(family)
        }
    }
}

prop_compose! {
    fn any_steps(heads: u32)(
        cut in prop::sample::select(vec!["1", "2", "3", "project+attend|merge"]), chunk in 1..=heads, interleave in 1u32..4,
        overlap in prop::sample::select(vec![Overlap::None, Overlap::Heads, Overlap::Tokens]),
    ) -> Steps {
        Steps { cut: cut.parse().unwrap(), chunk, interleave, overlap }
    }
}

prop_compose! {
    fn any_way(heads: u32, layers: u32)(
        tp in 1..=heads, pp in 1..=layers, lanes in 1u32..4, gather in any::<bool>(), sequential in any::<bool>(),
        weights in prop::collection::vec(1u32..4, 9), weighted in any::<bool>(), tokens in 1u32..12, micros in 1u32..4,
        batch in 1u32..4, steps in prop::option::weighted(0.7, any_steps(heads)),
        step_lanes in prop::collection::vec(0u32..4, 0..4), others in prop::option::of(0u32..4),
    ) -> Way {
        Way {
            steps, step_lanes, others, tp, pp, lanes, tokens, micros, batch,
            exchange: if gather { Exchange::Gather } else { Exchange::Reduce },
            order: if sequential { Order::Sequential } else { Order::Pipelined },
            weights: if weighted { weights[..tp as usize].iter().map(|w| f64::from(*w)).collect() } else { vec![] },
            numerics: Way::plain().numerics,
        }
    }
}

fn any_numerics() -> impl Strategy<Value = Numerics> {
    let int8 = [KvDtype::F16, KvDtype::Bf16, KvDtype::F32].map(|kv| numerics(Activations::Int8, kv));
    prop::sample::select([&int8[..], &[numerics(Activations::F32, KvDtype::F32)]].concat())
}

prop_compose! {
    /// Rows of whole blocks of 256, heads that are parts of them.
    fn any_wide_spec()(
        (heads, head_width) in prop::sample::select(vec![(8u32, 32u32), (4, 64), (2, 128), (8, 64), (3, 256)]),
        grouped in any::<bool>(), layers in 1u32..4, ffn in 1u32..4, tied in any::<bool>(),
    ) -> ModelSpec {
        ModelSpec {
            heads,
            kv_heads: if grouped && heads % 2 == 0 { heads / 2 } else { heads },
            head_width,
            width: heads * head_width,
            layers,
            ffn: 256 * ffn,
            vocab: 300,
            context: 64,
            tied,
            ..small_spec(Family::Llama)
        }
    }
}

/// The tensors of a Q4_K_M file.
fn mixed_file(spec: &ModelSpec, seed: u64) -> ModelFile {
    ModelFile::from_bytes(random_mix(spec, seed, |weight| q4_k_m(spec, weight)).leak()).unwrap()
}

/// Some cut on some kernels, against the reference uncut.
fn same_bits(file: &ModelFile, way: Way, isa: usize) -> Result<(), TestCaseError> {
    println!("{:?} {way:?}", file.spec()); // a failing case says what it was even if it never ends
    let prompts = [vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], vec![20, 21], vec![30, 31, 32, 33, 34]];
    let plain = Way { numerics: way.numerics, ..Way::plain() };
    let expected = run(file, &plain, compute::reference(), &prompts, 6);
    let isa = [Isa::Portable, Isa::Avx2, Isa::Avx512][isa];
    let compute = compute::cpu(Some(isa)).unwrap_or_else(|_| fast());
    let got = run(file, &way, compute, &prompts, 6);
    prop_assert_eq!(results(&got), results(&expected));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn random_cuts_of_random_models_give_the_same_bits(
        (spec, way) in any_spec().prop_flat_map(|spec| {
            let way = any_way(spec.heads, spec.layers);
            (Just(spec), way)
        }),
        dtype in prop::sample::select(&Dtype::ALL[..]), seed in any::<u64>(), numerics in any_numerics(), isa in 0usize..3,
    ) {
        let file = file(&spec, seed, dtype);
        same_bits(&file, Way { numerics, ..way }, isa)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]

    /// Cuts inside blocks of 256.
    #[test]
    fn random_cuts_of_wide_models_give_the_same_bits(
        (spec, way) in any_wide_spec().prop_flat_map(|spec| {
            let way = any_way(spec.heads, spec.layers);
            (Just(spec), way)
        }),
        dtype in prop::option::of(prop::sample::select(vec![Dtype::Q4K, Dtype::Q5K, Dtype::Q6K])),
        seed in any::<u64>(), isa in 0usize..3,
    ) {
        let file = dtype.map_or_else(|| mixed_file(&spec, seed), |dtype| file(&spec, seed, dtype));
        same_bits(&file, way, isa)?;
    }
}

/// Types as in a Q4_K_M file, one digest on every kind of kernel and under every kind of cut.
#[test]
fn mixed_types_give_the_same_bits_under_every_cut() {
    let spec = ModelSpec {
        layers: 8,
        width: 512,
        heads: 8,
        kv_heads: 4,
        head_width: 64,
        ffn: 768,
        ..small_spec(Family::Llama)
    };
    let file = mixed_file(&spec, 11);
    let types: Vec<Dtype> = Weight::all(&spec).map(|weight| file.dtype(weight).unwrap()).collect();
    assert!([Dtype::Q4K, Dtype::Q6K, Dtype::F32].iter().all(|dtype| types.contains(dtype)), "{types:?}");
    let prompts = [(1..40).collect::<Vec<u32>>(), vec![7, 8, 9]];
    let expected = results(&run(&file, &Way::plain(), compute::reference(), &prompts, 5));
    for isa in Isa::ALL {
        match compute::cpu(Some(isa)) {
            Ok(compute) => assert_eq!(results(&run(&file, &two_lanes(), compute, &prompts, 5)), expected, "{isa}"),
            Err(error) => println!("skipped: {error}"),
        }
    }
    for mut way in ways().into_iter().filter(|way| way.tp <= spec.heads && way.pp <= spec.layers) {
        way.steps.iter_mut().for_each(|steps| steps.chunk = steps.chunk.min(spec.heads));
        assert_eq!(results(&run(&file, &way, fast(), &prompts, 5)), expected, "{way:?}");
    }
}

#[test]
fn a_prompt_alone_and_in_company_gives_the_same_bits() {
    let spec = small_spec(Family::Llama);
    let file = file(&spec, 7, Dtype::Q8_0);
    let prompts = [vec![1, 2, 3], vec![4, 5, 6, 7, 8], vec![9]];
    let together = run(&file, &Way { micros: 2, batch: 2, ..Way::plain() }, fast(), &prompts, 9);
    for (prompt, output) in prompts.iter().zip(&together.outputs) {
        let alone = run(&file, &Way::plain(), fast(), std::slice::from_ref(prompt), 9);
        assert_eq!(alone.outputs[0].logits_digest, output.logits_digest);
        assert_eq!(alone.outputs[0].tokens, output.tokens);
    }
}

/// Contexts of several spans of keys: lanes share a prompt by what its tokens see, and a KV head by its queries.
#[test]
fn long_contexts_give_the_same_bits() {
    let spec = ModelSpec { context: 700, heads: 6, kv_heads: 2, width: 96, ..small_spec(Family::Llama) };
    let file = file(&spec, 7, Dtype::Q8_0);
    let prompts = [(0..600).map(|i| i % 300).collect(), (0..270).map(|i| (7 * i) % 300).collect::<Vec<u32>>()];
    let mut digests = vec![];
    for kv in [KvDtype::F16, KvDtype::Bf16, KvDtype::F32] {
        let plain = Way { numerics: numerics(Activations::Int8, kv), ..Way::plain() };
        let expected = results(&run(&file, &plain, compute::reference(), &prompts, 8));
        for (lanes, tp, batch, tokens) in [(1, 1, 2, 512), (2, 1, 1, 600), (3, 1, 2, 90), (2, 2, 2, 17), (7, 1, 1, 256)]
        {
            let way = Way { lanes, tp, batch, tokens, ..plain.clone() };
            assert_eq!(results(&run(&file, &way, fast(), &prompts, 8)), expected, "{way:?}");
        }
        digests.push(expected[0].clone());
    }
    assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);
}

/// More prompts than the cache has room for wait for their turn.
#[test]
fn prompts_that_wait_for_a_place_give_the_same_bits() {
    let spec = small_spec(Family::Llama);
    let file = file(&spec, 7, Dtype::Q8_0);
    let prompts: Vec<Vec<u32>> = (1..8).map(|i| (0..i).map(|j| 10 * i + j).collect()).collect();
    let expected = run(&file, &Way::plain(), fast(), &prompts, 5);
    for (sequences, micros, batch) in [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 3, 1)] {
        let way = Way { micros, batch, ..Way::plain() };
        let mut plan = way.plan(file.spec(), prompts.len());
        plan.workload.sequences = sequences;
        let mut engine = Engine::load(&file, &plan, fast(), &mut |_| {}).unwrap();
        let got = engine.generate(&prompts, &Options::greedy(5), &mut |_| Flow::Continue).unwrap();
        assert_eq!(results(&got), results(&expected), "{sequences} places");
    }
}

#[test]
fn a_listener_can_end_a_prompt_and_the_run() {
    let spec = small_spec(Family::Llama);
    let file = file(&spec, 7, Dtype::Q8_0);
    let plan = Way::plain().plan(file.spec(), 1);
    let mut engine = Engine::load(&file, &plan, fast(), &mut |_| {}).unwrap();
    for (flow, tokens) in [(Flow::Stop, 3), (Flow::Cancel, 3)] {
        let mut seen = 0;
        let mut listen = |event| {
            seen += u32::from(matches!(event, Event::Token { .. }));
            if seen == 3 { flow } else { Flow::Continue }
        };
        let report = engine.generate(&[vec![1, 2, 3]], &Options::greedy(20), &mut listen).unwrap();
        assert_eq!(report.outputs[0].tokens.len(), tokens);
    }
}

/// A prompt that is given up while it is read keeps its place until its tokens have left the model.
#[test]
fn a_prompt_that_is_given_up_leaves_nothing_to_the_next() {
    let spec = small_spec(Family::Llama);
    let file = file(&spec, 7, Dtype::Q8_0);
    let prompts = [vec![1, 2, 3], vec![9, 8]];
    let expected = run(&file, &Way::plain(), fast(), &prompts[1..], 5);
    for pp in [1, 2] {
        let mut plan = Way { micros: 3, pp, ..Way::plain() }.plan(file.spec(), 2);
        plan.workload.sequences = 1;
        let mut engine = Engine::load(&file, &plan, fast(), &mut |_| {}).unwrap();
        let give_up = |event| if let Event::Prefilling { prompt: 0, .. } = event { Flow::Stop } else { Flow::Continue };
        let got = engine.generate(&prompts, &Options::greedy(5), &mut { give_up }).unwrap();
        assert_eq!(got.outputs[0].tokens, [0; 0]);
        assert_eq!(results(&got)[1], results(&expected)[0]);
    }
}

fn smollm2() -> Option<ModelFile> {
    let Some(path) = std::env::var_os("HEADSAW_SMOLLM2").map(PathBuf::from) else {
        println!("skipped: no SmolLM2 (HEADSAW_SMOLLM2 is not set; `cargo xtask test` sets it)");
        return None;
    };
    Some(ModelFile::open(&path).unwrap())
}

#[test]
fn smollm2_gives_the_same_bits_under_every_cut() {
    let Some(file) = smollm2() else { return };
    let tokenizer = headsaw_run::tokenizer::Tokenizer::from_model(&file).unwrap();
    let texts = ["Once upon a time", "The capital of France is", "def fibonacci(n):\n    "];
    let prompts: Vec<Vec<u32>> = texts.iter().map(|text| tokenizer.encode(text, true).unwrap()).collect();
    let expected = results(&run(&file, &Way::plain(), fast(), &prompts, TOKENS));
    for way in &ways() {
        assert_eq!(results(&run(&file, way, fast(), &prompts, TOKENS)), expected, "{way:?}");
    }
    for prompt in 0..prompts.len() {
        let alone = run(&file, &Way::plain(), fast(), &prompts[prompt..prompt + 1], TOKENS);
        assert_eq!(results(&alone)[0], expected[prompt], "prompt {prompt} alone");
    }
    for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
        match compute::cpu(Some(isa)) {
            Ok(compute) => assert_eq!(results(&run(&file, &two_lanes(), compute, &prompts, TOKENS)), expected, "{isa}"),
            Err(error) => println!("skipped: {error}"),
        }
    }
    let got = run(&file, &two_lanes(), compute::reference(), &prompts, TOKENS);
    assert_eq!(results(&got), expected, "reference kernels");
    for kv in [KvDtype::Bf16, KvDtype::F32] {
        let plain = Way { numerics: numerics(Activations::Int8, kv), ..Way::plain() };
        let expected = results(&run(&file, &plain, fast(), &prompts, TOKENS));
        for way in [Way { lanes: 2, ..plain.clone() }, Way { tp: 3, exchange: Exchange::Gather, ..plain }] {
            assert_eq!(results(&run(&file, &way, fast(), &prompts, TOKENS)), expected, "{way:?}");
        }
    }
}

/// Tokens that are generated for each prompt.
const TOKENS: usize = 64;

fn two_lanes() -> Way {
    Way { lanes: 2, ..Way::plain() }
}

/// Every kind of cut at least once.
fn ways() -> Vec<Way> {
    let reduce = |tp| Way { tp, ..Way::plain() };
    let gather = |tp| Way { exchange: Exchange::Gather, ..reduce(tp) };
    let stages = |pp, micros| Way { pp, micros, ..Way::plain() };
    vec![
        two_lanes(),
        reduce(2),
        Way { lanes: 2, micros: 3, ..reduce(2) },
        Way { weights: vec![2.0, 1.0], ..reduce(2) },
        reduce(3),
        reduce(4),
        reduce(5),
        reduce(9),
        gather(2),
        Way { lanes: 2, ..gather(3) },
        gather(4),
        gather(5),
        gather(9),
        stages(2, 2),
        stages(3, 3),
        Way { batch: 3, ..stages(7, 1) },
        Way { order: Order::Sequential, ..stages(2, 2) },
        Way { tp: 4, ..stages(3, 3) },
        Way { exchange: Exchange::Gather, tp: 4, ..stages(3, 2) },
        Way { tokens: 1, ..Way::plain() },
        Way { tokens: 7, ..reduce(2) },
        Way { batch: 3, ..Way::plain() },
    ]
    .into_iter()
    .chain(stepped())
    .collect()
}

/// Cuts of the heads' work into steps: a sample of chunk × steps × lanes × exchange × overlap × tp × pp × micro-batches
/// in which each value of each meets several of the others. `benches/digests.rs` takes all.
fn stepped() -> Vec<Way> {
    let overlaps = [Overlap::None, Overlap::Heads, Overlap::Tokens];
    let way = |i: usize| {
        let pick = |step: usize, of: usize| (i * step + i / 5) % of;
        let steps = Steps {
            cut: ["1", "2", "3"][pick(1, 3)].parse().unwrap(),
            chunk: [1, 2, 9][pick(2, 3)],
            interleave: 2,
            overlap: overlaps[pick(1, 3)],
        };
        Way {
            steps: Some(steps),
            lanes: 1 + pick(2, 3) as u32,
            exchange: [Exchange::Reduce, Exchange::Gather][pick(1, 2)],
            tp: 1 + pick(1, 4) as u32,
            pp: 1 + pick(1, 2) as u32,
            micros: [1, 3][pick(3, 2)],
            tokens: 8,
            ..Way::plain()
        }
    };
    (0..18).map(way).collect()
}
