//! docs/rollout.md against the table.

use super::super::*;

#[test]
fn the_documentation_has_the_tables_diagrams() {
    let text = include_str!("../../../../docs/rollout.md");
    let diagram = |machine: Machine| format!("```mermaid\n{}```\n", mermaid(machine));
    let all = [Machine::Suggestion, Machine::Rollout, Machine::Target, Machine::Control];
    let diagrams = all.map(diagram);
    let missing: String = diagrams.into_iter().filter(|diagram| !text.contains(diagram)).collect();
    assert!(missing.is_empty(), "docs/rollout.md must have\n{missing}");
}

#[test]
fn the_documentation_explains_every_state() {
    let text = include_str!("../../../../docs/rollout.md");
    for edge in TABLE {
        let stage = edge.to.split_once('_').filter(|(_, stage)| !matches!(*stage, "back" | "go"));
        let word = stage.map_or(edge.to, |(_, stage)| stage);
        assert!(text.contains(&format!("| `{word}` |")), "docs/rollout.md must explain {word}");
    }
}
