//! Who reaches himself.

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};

/// What hangs together by arrows in both directions, the largest first.
pub(crate) fn circles<'a>(arrows: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Vec<String>> {
    let graph: DiGraphMap<&str, ()> = arrows.collect();
    let mut circles: Vec<Vec<String>> = tarjan_scc(&graph)
        .into_iter()
        .filter(|members| members.len() > 1)
        .map(|members| {
            let mut members: Vec<String> = members.into_iter().map(str::to_owned).collect();
            members.sort();
            members
        })
        .collect();
    circles.sort_by_key(|members| (std::cmp::Reverse(members.len()), members.first().cloned()));
    circles
}
