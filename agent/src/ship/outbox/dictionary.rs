//! The definitions of this process's series: those of the current version, and of older ones as long as the live lane has frames of them.

use std::collections::VecDeque;

use flyball_proto::v1;

/// A Define message holds definitions that take about this many bytes of memory at most, some 15 series and a third of that on the wire: the collector keeps
/// for each stream a buffer as large as the largest message.
const DEFINE_BYTES: usize = 4 * 1024;

/// What a stream has been told of a dictionary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Version; 0 when nothing was told.
    pub(super) version: u32,
    /// Slots below this are defined.
    pub(super) slots: u32,
}

/// One version.
#[derive(Debug, Default)]
struct Dictionary {
    version: u32,
    bytes: usize,
    series: Vec<v1::SeriesDefinition>,
}

/// All versions that are needed, oldest first. The last one is current.
#[derive(Debug, Default)]
pub(super) struct Dictionaries(VecDeque<Dictionary>);

impl Dictionaries {
    /// Takes definitions. Those of one version come in the order of their slots; a new version starts an empty dictionary. True when it did.
    pub(super) fn define(&mut self, define: v1::Define) -> bool {
        let version = define.dictionary_version;
        let restarted = self.0.back().is_none_or(|d| d.version != version);
        if restarted {
            self.0.push_back(Dictionary { version, ..Dictionary::default() });
        }
        if let Some(dictionary) = self.0.back_mut() {
            dictionary.bytes += define.series.iter().map(definition_bytes).sum::<usize>();
            dictionary.series.extend(define.series);
        }
        restarted
    }

    /// Version of the current dictionary.
    pub(super) fn version(&self) -> u32 {
        self.0.back().map_or(0, |d| d.version)
    }

    /// Definitions of the current dictionary, by slot.
    pub(super) fn series(&self) -> &[v1::SeriesDefinition] {
        self.0.back().map_or(&[], |d| &d.series)
    }

    /// Memory of the versions that are not current.
    pub(super) fn superseded_bytes(&self) -> usize {
        self.0.iter().rev().skip(1).map(|d| d.bytes).sum()
    }

    /// Memory of the current version.
    pub(super) fn current_bytes(&self) -> usize {
        self.0.back().map_or(0, |d| d.bytes)
    }

    /// Drops the versions before `needed`, but for the current one.
    pub(super) fn forget_before(&mut self, needed: u32) {
        while self.0.len() > 1 && self.0.front().is_some_and(|d| d.version < needed) {
            self.0.pop_front();
        }
    }

    /// The next part of what a frame needs and `told` lacks; notes it as told.
    pub(super) fn missing(&self, told: &mut Told, needed: Told) -> Option<v1::Define> {
        if told.version == needed.version && told.slots >= needed.slots {
            return None;
        }
        if told.version != needed.version {
            *told = Told { version: needed.version, slots: 0 };
        }
        let dictionary = self.0.iter().find(|d| d.version == needed.version)?;
        let missing = &dictionary.series[told.slots as usize..needed.slots as usize];
        let series = part(missing);
        told.slots += series.len() as u32;
        Some(v1::Define { dictionary_version: needed.version, series: series.to_vec() })
    }
}

/// As many of the first definitions as a message may hold, at least one.
pub(in crate::ship) fn part(series: &[v1::SeriesDefinition]) -> &[v1::SeriesDefinition] {
    let mut bytes = 0;
    let fits = |series: &&v1::SeriesDefinition| {
        let first = bytes == 0;
        bytes += definition_bytes(series);
        first || bytes <= DEFINE_BYTES
    };
    &series[..series.iter().take_while(fits).count()]
}

/// Memory that a definition takes.
fn definition_bytes(series: &v1::SeriesDefinition) -> usize {
    let attributes: usize = series
        .attributes
        .iter()
        .map(|a| size_of::<v1::Attribute>() + a.key.len() + a.value.len())
        .sum();
    size_of::<v1::SeriesDefinition>() + series.metric.len() + series.unit.len() + attributes
}
