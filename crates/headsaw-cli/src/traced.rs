//! TRACE on the command line: a trace file, opened and held against the program of its plan.

use crate::cut::plain;
use crate::error::Failure;
use crate::form::is_trace;
use crate::model::read_text_of;
use crate::output::{grouped, say, styled};
use crate::place::{ClusterArgs, Site};
use crate::played::ACTIONS_MOST;
use crate::progress::Waiting;
use crate::verify::refuse_as;
use headsaw::cost::Priced;
use headsaw::plan::Plan;
use headsaw::program::Program;
use headsaw::simulate::simulate;
use headsaw::spec::cluster::Link;
use headsaw::spec::short;
use headsaw::trace::{NoTrace, Rounds, Source, Trace, TraceFile};
use headsaw::verify::{self, Violation};
use std::path::Path;

/// Largest file that is read.
const BYTES_MAX: u64 = 512 << 20;

/// A trace file, and what it means.
#[derive(Debug)]
pub struct Traced {
    /// How it was named.
    pub name: String,
    /// What was played or run.
    pub plan: Plan,
    /// The cluster that it was predicted for.
    pub cluster: Option<String>,
    /// How the links between devices were slowed down.
    pub link: Option<String>,
    /// What went through.
    pub rounds: Rounds,
    /// The plan's program.
    pub program: Program,
    /// When everything happened.
    pub trace: Trace,
}

impl Traced {
    /// Reads a trace file; all that does not fit together is told at once.
    pub fn open(given: &str) -> Result<Traced, Failure> {
        let path = Path::new(given);
        if given != "-" && !is_trace(path) && !path.exists() {
            let given = short(given);
            return Err(Failure::Input(format!(
                "{given}: no such file; expected a trace, as `headsaw simulate … -o {given}.trace` writes one"
            )));
        }
        let text = read_text_of(path, BYTES_MAX)?;
        let in_words = |error: NoTrace| NoTrace { what: plain(&error.what), ..error };
        let file = TraceFile::read(&text).map_err(in_words);
        let mut file = file.map_err(|error| Failure::Input(format!("{given}: {error}")))?;
        drop(text);
        let program = verify::traced(&file).map_err(|found| refuse_as(given, "trace", &found))?;
        let (cluster, link) = (file.cluster.take(), file.link.take());
        let (plan, rounds) = (file.plan.clone(), file.rounds.clone());
        Ok(Traced { name: given.into(), plan, cluster, link, rounds, trace: file.into_trace(&program), program })
    }

    /// All that is wrong with its times.
    pub fn violations(&self) -> Vec<Violation> {
        verify::trace(&self.program, &self.trace)
    }

    /// Says where it should not be trusted.
    pub fn doubt(&self) {
        if let Some(first) = self.violations().first() {
            let note = styled(crate::output::BAD, "note:");
            say(&format!("{note} {}: {first} (`headsaw verify` says all that is wrong)\n", self.name));
        }
    }

    /// Was it predicted?
    pub fn is_simulated(&self) -> bool {
        self.trace.source == Source::Simulated
    }

    /// Where it was measured, or what it was predicted for.
    pub fn place(&self) -> &str {
        match &self.trace.source {
            Source::Simulated => self.cluster.as_deref().unwrap_or(crate::cluster::LOCAL),
            Source::Measured { machine } => machine,
        }
    }

    /// What the simulation says of the same plan, loads and links: on the cluster of the flag, else its own, else here.
    pub fn predicted(&self, args: &ClusterArgs) -> Result<Traced, Failure> {
        let named = self.cluster.as_deref().or(self.plan.cluster.as_deref());
        let site = args.site(named.map(|cluster| (self.name.as_str(), cluster)))?;
        let site = site.map_or_else(|| Site::find(crate::cluster::LOCAL), Ok)?.sized(&self.plan)?;
        let (wanted, there) = (self.plan.devices.len(), site.cluster.devices() as usize);
        if wanted > there {
            return Err(Failure::Input(format!(
                "--cluster {}: {there} device(s), and the plan has {wanted}",
                site.given
            )));
        }
        let site = site.over(self.shaped()?)?;
        self.playable()?;
        let _waiting = Waiting::begin("simulating");
        let cost = Priced::new(&self.plan, &site.cluster);
        let trace = simulate(&self.program, &cost, &self.rounds).map_err(Failure::failed)?;
        let (plan, rounds, program) = (self.plan.clone(), self.rounds.clone(), self.program.clone());
        let name = "simulated".to_string();
        Ok(Traced { name, plan, cluster: Some(site.given), link: self.link.clone(), rounds, program, trace })
    }

    fn shaped(&self) -> Result<Option<Link>, Failure> {
        let link = self.link.as_ref().map(|link| link.parse::<Link>());
        link.transpose().map_err(|error| Failure::Input(format!("{}: link: {error}", self.name)))
    }

    /// Is it short enough to be played?
    fn playable(&self) -> Result<(), Failure> {
        let a_round: u64 = self.program.lanes.iter().map(|lane| lane.actions.len() as u64).sum();
        let actions = a_round.saturating_mul(self.rounds.0.len() as u64);
        if actions > ACTIONS_MOST {
            let (actions, most) = (grouped(actions), grouped(ACTIONS_MOST));
            return Err(Failure::Input(format!("{}: {actions} actions to simulate, at most {most}", self.name)));
        }
        Ok(())
    }
}
