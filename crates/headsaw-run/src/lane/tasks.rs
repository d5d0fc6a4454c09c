//! A program's actions with what they wait for inside their device, and who waits for them.

use headsaw::program::{Action, BufId, MicroId, PlaceKind, Program};
use std::collections::{BTreeMap, BTreeSet};

/// An action, and what it waits for inside its device.
pub(super) struct Task<'a> {
    pub action: &'a Action,
    /// Lane and number of actions that it must have done.
    pub waits: Vec<(usize, u64)>,
    /// Lanes of its device that wait for it.
    pub wakes: Vec<usize>,
    /// The lane has to look at the micro-batch's header, which may say stop.
    pub looks: Option<Looks>,
}

/// When a lane looks at the header of a micro-batch: once a round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    /// Before the first action that needs it.
    Before,
    /// After the action that receives it.
    After,
}

/// What each lane does.
pub(super) fn tasks(program: &Program) -> Vec<Vec<Task<'_>>> {
    let makers = makers(program);
    let mut tasks: Vec<Vec<Task>> = (0..program.lanes.len()).map(|lane| of_lane(program, lane, &makers)).collect();
    let mut wakes = Vec::new();
    for (lane, tasks) in tasks.iter().enumerate() {
        let waits = tasks.iter().flat_map(|task| &task.waits);
        wakes.extend(waits.map(|(maker, done)| (*maker, *done as usize - 1, lane)));
    }
    for (maker, at, lane) in wakes {
        let wakes = &mut tasks[maker][at].wakes;
        if !wakes.contains(&lane) {
            wakes.push(lane);
        }
    }
    tasks
}

/// For each value the lane that makes it, and how many actions that has then done. The last one counts: a value may come
/// in several messages.
fn makers(program: &Program) -> Vec<Option<(usize, u64)>> {
    let mut makers = vec![None; program.bufs.len()];
    for (lane, held) in program.lanes.iter().enumerate() {
        for (at, action) in held.actions.iter().enumerate() {
            action.makes.iter().for_each(|buf| makers[buf.index()] = Some((lane, at as u64 + 1)));
        }
    }
    makers
}

fn of_lane<'a>(program: &'a Program, lane: usize, makers: &[Option<(usize, u64)>]) -> Vec<Task<'a>> {
    let is_header = |buf: &BufId| {
        let place = program.bufs[buf.index()].place;
        place.is_some_and(|place| matches!(program.places[place.index()].kind, PlaceKind::Header(_)))
    };
    let mut seen: BTreeSet<MicroId> = BTreeSet::new();
    let task = |action: &'a Action| {
        let needs = action.needs.iter().any(is_header).then_some(Looks::Before);
        let looks = needs.or(action.makes.iter().any(is_header).then_some(Looks::After));
        let looks = looks.filter(|_| seen.insert(action.micro));
        Task { action, waits: waits(action, lane, makers), wakes: Vec::new(), looks }
    };
    program.lanes[lane].actions.iter().map(task).collect()
}

/// What an action of a lane waits for on the device's other lanes: of each the last that it needs.
fn waits(action: &Action, lane: usize, makers: &[Option<(usize, u64)>]) -> Vec<(usize, u64)> {
    let maker = |buf: &BufId| makers[buf.index()].expect("a value that is needed is made");
    let mut waits: BTreeMap<usize, u64> = BTreeMap::new();
    for (maker, done) in action.needs.iter().map(maker).filter(|(maker, _)| *maker != lane) {
        let most = waits.entry(maker).or_default();
        *most = done.max(*most);
    }
    waits.into_iter().collect()
}
