//! Measures openraft for the suite; see doc.go beside src.

#![recursion_limit = "256"] // the result line is one json! of many fields

mod cluster;
mod load;
mod log;
mod machine;
mod measure;
mod network;
mod recorder;
mod request;
mod safety;
mod system;
mod types;

use std::process::ExitCode;

use request::Request;

/// Exit codes, as those of the suite's other programs.
const FAILED: u8 = 1;
const REFUSED: u8 = 2;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        eprintln!(
            "openraft: argument {argument:?}, want none: cluster_benchmark starts this program and sends a request to its standard input"
        );
        return REFUSED.into();
    }
    let request = match Request::read(std::io::stdin()) {
        Ok(request) => request,
        Err(problem) => return fail(REFUSED, &problem),
    };
    let outcome = match measure::measure(&request) {
        Ok(outcome) => outcome,
        Err(problem) => return fail(FAILED, &format!("openraft: {problem}")),
    };
    if let Some(line) = outcome.line {
        println!("{line}");
    }
    match outcome.problem {
        Some(problem) => fail(FAILED, &format!("the figures can't be used: {problem}")),
        None if outcome.interrupted => INTERRUPTED.into(),
        None => ExitCode::SUCCESS,
    }
}

/// Says on one line what is wrong.
fn fail(code: u8, problem: &str) -> ExitCode {
    eprintln!("{}", problem.split_whitespace().collect::<Vec<_>>().join(" "));
    code.into()
}
