//! Several like servers in one suggestion or rollout: where they are, what changes at each, and in which waves.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use comfy_table::Cell;

use crate::api::steering::{Change, Member, Rollout, Suggestion, Target};
use crate::text::table::{Column, Screen, Tone, plain, render, toned};
use crate::text::values::{changes, setting};
use crate::text::{UNKNOWN, clean, units};

/// `sessions on web-1`
pub(super) fn where_it_is(target: &Target) -> String {
    match target.node.as_str() {
        "" => target.name.clone(),
        node => format!("{} on {node}", target.name),
    }
}

/// `sessions on web-1`, or of several `sessions on 3 nodes`.
fn where_they_are(target: &Target, members: &[Member]) -> String {
    let nodes: BTreeSet<&str> = members.iter().map(|member| member.target.node.as_str()).collect();
    if !target.node.is_empty() || nodes.is_empty() {
        return where_it_is(target);
    }
    let what = match target.name.as_str() {
        "*" => format!("{} caches", members.len()),
        name => name.to_owned(),
    };
    let nodes = nodes.len();
    format!("{what} on {nodes} node{}", if nodes == 1 { "" } else { "s" })
}

/// The change in one line; of several different ones the first, and how many there are beside it.
fn change_of(first: &[Change], members: &[Member]) -> String {
    let differs = members.iter().any(|member| member.change != first);
    match members.len() {
        count if count > 1 && differs => {
            format!("{}, and {} more like it", changes(first), count - 1)
        }
        _ => changes(first),
    }
}

impl Suggestion {
    /// Where it is about.
    pub(super) fn place(&self) -> String {
        where_they_are(&self.target, &self.members)
    }

    /// What it would change, in one line.
    pub(super) fn change_words(&self) -> String {
        change_of(&self.change, &self.members)
    }
}

impl Rollout {
    /// Where it is about; nothing when its suggestion is no longer remembered.
    pub(super) fn place(&self) -> Option<String> {
        Some(where_they_are(self.target.as_ref()?, &self.members))
    }

    /// What it changes, in one line.
    pub(super) fn change_words(&self) -> String {
        change_of(&self.change, &self.members)
    }

    /// The servers of which it is not known that the old values are in force, after a failure.
    fn in_doubt(&self) -> impl Iterator<Item = &Target> {
        let is_sure = |state: &str| matches!(state, "untouched" | "restored");
        self.members.iter().filter(move |member| !is_sure(&member.state)).map(|m| &m.target)
    }

    /// What a person has to do after a failure: a command for each server in doubt.
    pub(super) fn unlocking(&self) -> String {
        let commands: Vec<String> =
            self.in_doubt().map(|target| format!("flyball unlock {}", clean(&target.id))).collect();
        if commands.is_empty() {
            "flyball unlock TARGET".to_owned()
        } else {
            commands.join(" and ")
        }
    }

    /// How many waves it has.
    pub(super) fn wave_count(&self) -> u64 {
        let begun = self.steps.iter().map(|step| step.wave).max().unwrap_or(1);
        begun.max(self.waves.len() as u64)
    }

    /// The shortest name that says which member it is: its node where all have one name.
    fn short<'a>(&'a self, id: &'a str) -> std::borrow::Cow<'a, str> {
        let mut members = self.members.iter().map(|member| &member.target);
        let name = self.target.as_ref().map_or("*", |target| target.name.as_str());
        match members.find(|target| target.id == id) {
            Some(target) if name != "*" && !target.node.is_empty() => target.node.as_str().into(),
            Some(target) => where_it_is(target).into(),
            None => id.into(),
        }
    }
}

const MEMBERS: [Column<'_>; 4] =
    [Column::Text("MEMBER"), Column::Text("SETTING"), Column::Text("NOW"), Column::Text("THEN")];

/// The members of a suggestion of several, each with its present and proposed values; nothing of one.
pub(super) fn members(screen: Screen, all: &[Member]) -> String {
    if all.len() < 2 {
        return String::new();
    }
    let rows = all.iter().flat_map(|member| settings(member, |_| None));
    format!("\n{}", render(screen, &MEMBERS, rows.collect()))
}

const CHANGED: [Column<'_>; 5] = [
    Column::Text("MEMBER"),
    Column::Text("SETTING"),
    Column::Text("BEFORE"),
    Column::Text("CHANGED"),
    Column::Text("STATE"),
];

const WAVES: [Column<'_>; 5] = [
    Column::Text("WAVE"),
    Column::Text("STATE"),
    Column::Text("BEGAN"),
    Column::Text("CHANGES"),
    Column::Text("COMPARED WITH"),
];

/// The members and waves of a rollout of several; nothing of one.
pub(super) fn course(screen: Screen, of: &Rollout) -> String {
    if of.members.len() < 2 {
        return String::new();
    }
    let rows = of.members.iter().flat_map(|member| settings(member, |m| Some(state(m))));
    let mut text = format!("\n{}", render(screen, &CHANGED, rows.collect()));
    let waves = (1..).zip(&of.waves).map(|(place, wave)| {
        let names = |ids: &[String]| match ids {
            [] => UNKNOWN.to_owned(),
            ids => ids.iter().map(|id| of.short(id)).collect::<Vec<_>>().join(", "),
        };
        let began = of.steps.iter().find(|step| step.wave == place);
        vec![
            plain(if place == 1 { "1, canary".to_owned() } else { place.to_string() }),
            toned(&wave.state.replace('_', " "), wave_tone(&wave.state)),
            plain(began.map_or_else(|| UNKNOWN.to_owned(), |step| units::utc(step.started_at_ms))),
            plain(names(&wave.targets)),
            plain(names(&wave.controls)),
        ]
    });
    let _ = write!(text, "\n{}", render(screen, &WAVES, waves.collect()));
    text
}

/// A row for each setting of a member; the name stands in the first one.
fn settings(of: &Member, last: impl Fn(&Member) -> Option<Cell>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (at, change) in of.change.iter().enumerate() {
        let Change { parameter, from, to, unit } = change;
        let first = if at == 0 { where_it_is(&of.target) } else { String::new() };
        let mut row = vec![
            plain(first),
            plain(parameter),
            plain(setting(parameter, from, unit)),
            plain(setting(parameter, to, unit)),
        ];
        row.extend(if at == 0 { last(of) } else { None });
        rows.push(row);
    }
    rows
}

/// Where a member is, and whether a person has to unlock it.
fn state(of: &Member) -> Cell {
    let locked = if of.locked { ", locked" } else { "" };
    let tone = match of.state.as_str() {
        _ if of.locked => Tone::Bad,
        "in_force" => Tone::Good,
        "upset" | "stuck" => Tone::Bad,
        "restoring" => Tone::Warning,
        _ => Tone::Plain,
    };
    toned(&format!("{}{locked}", of.state.replace('_', " ")), tone)
}

fn wave_tone(state: &str) -> Tone {
    match state {
        "passed" | "promoted" => Tone::Good,
        "restoring" | "restored" => Tone::Warning,
        "failed" => Tone::Bad,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str, from: &str, state: &str) -> Member {
        let target = Target {
            id: format!("redis:{node}:sessions"),
            node: node.into(),
            kind: "redis".into(),
            name: "sessions".into(),
        };
        let change = Change {
            parameter: "maxmemory".into(),
            from: from.into(),
            to: "134217728".into(),
            unit: "bytes".into(),
        };
        Member { target, change: vec![change], state: state.into(), locked: false }
    }

    fn group(name: &str) -> Target {
        Target { id: format!("redis:*:{name}"), name: name.into(), ..Target::default() }
    }

    #[test]
    fn a_group_is_named_by_how_many_nodes_it_is_on() {
        let three = ["web-1", "web-2", "web-3"].map(|node| member(node, "1", ""));
        assert_eq!(where_they_are(&group("sessions"), &three), "sessions on 3 nodes");
        assert_eq!(where_they_are(&group("*"), &three), "3 caches on 3 nodes");
        let one = [member("web-1", "1", ""), member("web-1", "1", "")];
        assert_eq!(where_they_are(&group("*"), &one), "2 caches on 1 node");
        assert_eq!(where_they_are(&three[0].target, &three[..1]), "sessions on web-1");
    }

    #[test]
    fn different_changes_are_not_shown_as_one() {
        let same = ["web-1", "web-2"].map(|node| member(node, "67108864", ""));
        let words = change_of(&same[0].change, &same);
        assert_eq!(words, "maxmemory 64 MiB → 128 MiB (×2)");
        let other = [same[0].clone(), member("web-2", "60000000", "")];
        let words = change_of(&same[0].change, &other);
        assert_eq!(words, "maxmemory 64 MiB → 128 MiB (×2), and 1 more like it");
    }

    #[test]
    fn what_is_to_be_unlocked_are_members_and_never_the_group() {
        let states = [("a", "restored"), ("b", "stuck"), ("c", "restoring"), ("d", "untouched")];
        let members = states.map(|(node, state)| member(node, "1", state)).to_vec();
        let of = Rollout { target: Some(group("sessions")), members, ..Rollout::default() };
        let expected = "flyball unlock redis:b:sessions and flyball unlock redis:c:sessions";
        assert_eq!(of.unlocking(), expected);
        assert_eq!(Rollout::default().unlocking(), "flyball unlock TARGET");
    }
}
