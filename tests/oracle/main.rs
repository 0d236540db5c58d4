//! `make test-oracle`: podrun's reader of manifests beside a real kube-apiserver, over mutations of every field that is done.
//!
//! Invariant: the same seed asks the same. A difference that is not on the list of wanted ones fails the run, and is printed
//! once for each kind, with the smallest manifest that showed it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use support::dice::Dice;

use compare::{Answer, Difference, differences, podrun};
use mutations::{Case, Edit, combined, edits};
use server::Server;
use wanted::List;

mod compare;
mod documents;
mod mutations;
mod server;
mod values;
mod wanted;
mod yaml;

/// The unwanted differences by their kinds.
type Unwanted = BTreeMap<String, Seen>;

/// A kind of difference: how often it was seen, and by what.
struct Seen {
    times: usize,
    difference: Difference,
    case: Case,
}

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let programs = PathBuf::from(arguments.next().context("usage: podrun-oracle PROGRAMS [SEED [COUNT]]")?);
    let mut number = |or: u64| arguments.next().map_or(Ok(or), |text| text.parse::<u64>());
    let (seed, count) = (number(1)?, number(3000)?);
    let list = List::read(include_str!("wanted.txt"))?;
    let server = Server::start(&programs)?;
    println!("kube-apiserver {}, seed {seed}", server.version()?);
    let unwanted = run(&server, &list, seed, usize::try_from(count)?)?;
    Ok(report(&list, &unwanted))
}

fn run(server: &Server, list: &List, seed: u64, count: usize) -> Result<Unwanted> {
    let mut unwanted = Unwanted::new();
    let whole: Vec<Case> = documents::all().into_iter().map(Case::whole).collect();
    judge(server, list, &whole, &mut unwanted)?;
    println!("{} spellings of a whole manifest", whole.len());
    let edits = edits();
    let singles: Vec<Case> = edits
        .iter()
        .enumerate()
        .map(|(number, edit)| Case::of(vec![edit.clone()], number % 4 == 0))
        .collect();
    let agreed = judge(server, list, &singles, &mut unwanted)?;
    println!("{} values of single fields", singles.len());
    // Values that are wrong by themselves would only hide what fields say to each other.
    let pool: Vec<Edit> =
        edits.into_iter().zip(agreed).filter(|(_, agreed)| *agreed).map(|(edit, _)| edit).collect();
    let mixed = combined(&pool, count, &mut Dice::of(seed));
    judge(server, list, &mixed, &mut unwanted)?;
    println!("{} combinations of {} values that both take", mixed.len(), pool.len());
    shrink(server, &mut unwanted)?;
    Ok(unwanted)
}

/// Asks both about every case; gives in what each differs, and whether both accept it.
fn ask(server: &Server, cases: &[Case]) -> Result<Vec<(Vec<Difference>, bool)>> {
    let ours: Vec<Answer> = cases.iter().map(|case| podrun(&case.text)).collect();
    let theirs = server.ask(cases, &ours)?;
    let both = ours.iter().zip(&theirs);
    Ok(both
        .map(|(ours, theirs)| (differences(ours, theirs), ours.is_accepted() && theirs.is_accepted()))
        .collect())
}

/// Asks about every case; gives whether both accept each and agree.
fn judge(server: &Server, list: &List, cases: &[Case], unwanted: &mut Unwanted) -> Result<Vec<bool>> {
    let mut agreed = Vec::with_capacity(cases.len());
    for (case, (found, accepted)) in cases.iter().zip(ask(server, cases)?) {
        agreed.push(accepted && found.is_empty());
        for difference in found.into_iter().filter(|difference| !list.has(difference)) {
            let new = Seen { times: 0, difference: difference.clone(), case: case.clone() };
            let seen = unwanted.entry(difference.class()).or_insert(new);
            seen.times += 1;
            if case.text.len() < seen.case.text.len() {
                (seen.difference, seen.case) = (difference, case.clone());
            }
        }
    }
    Ok(agreed)
}

/// Leaves out each edit without which the difference is the same.
fn shrink(server: &Server, unwanted: &mut Unwanted) -> Result<()> {
    for (class, seen) in unwanted {
        loop {
            let smaller = seen.case.smaller();
            let answers = ask(server, &smaller)?;
            let same = smaller.into_iter().zip(answers).find_map(|(case, (found, _))| {
                let difference = found.into_iter().find(|difference| difference.class() == *class)?;
                Some((case, difference))
            });
            let Some((case, difference)) = same else { break };
            (seen.case, seen.difference) = (case, difference);
        }
    }
    Ok(())
}

fn report(list: &List, unwanted: &Unwanted) -> ExitCode {
    for Seen { times, difference, case } in unwanted.values() {
        println!(
            "\n{} ({times} times): {}\n{}",
            difference.kind.name(),
            difference.said,
            case.text.trim_end()
        );
    }
    for line in list.unmet() {
        println!("\nno longer seen, and still on the list of wanted differences: {line}");
    }
    println!("\n{} kinds of unwanted differences", unwanted.len());
    if unwanted.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
