//! The tags of one topic, each text with a number of its own. Queue indexes hold the numbers, so a tag filter compares
//! exactly, not by hash, and without reading a message.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::command::Filter;

/// Different tags that the messages of one topic may have.
pub const MAX_TAGS: usize = 1 << 20;
/// Bytes of all different tags of one topic.
pub const MAX_TAG_BYTES: usize = 64 * 1024 * 1024;

/// Number of a tag within its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TagId(u32);

impl TagId {
    /// Of a message without a tag. No filter names it.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn get(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    const fn place(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

/// Texts of tags with numbers in a row. A number without a text is free.
pub(crate) type TagTexts = Vec<Option<Arc<str>>>;

/// Texts that are kept, and shared with a frozen state, together.
const PART_TEXTS: usize = 1024;

/// The tags of the messages kept. A tag that no message has any more is forgotten, and its number given to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TagTable {
    ids: foldhash::HashMap<Arc<str>, TagId>,
    /// All texts by their numbers, from 1; the last is not free. A part that is changed while a frozen state shares
    /// it is copied first.
    parts: Vec<Arc<TagTexts>>,
    /// By number: how many queues keep messages with the tag, and how many messages with it are not in a queue yet.
    holders: Vec<u32>,
    free: BTreeSet<TagId>,
    bytes: usize,
}

impl TagTable {
    /// The number of `tag`: its own, or else the lowest that is free. `None` when the table is full. A new one is to
    /// be held at once.
    pub(crate) fn intern(&mut self, tag: &str) -> Option<TagId> {
        if let Some(id) = self.ids.get(tag) {
            return Some(*id);
        }
        if self.ids.len() >= MAX_TAGS || self.bytes + tag.len() > MAX_TAG_BYTES {
            return None;
        }
        let text: Arc<str> = tag.into();
        let id = match self.free.pop_first() {
            Some(id) => {
                if let Some(slot) = self.slot(id) {
                    *slot = Some(text.clone());
                }
                id
            }
            None => self.append(Some(text.clone())),
        };
        self.bytes += tag.len();
        self.ids.insert(text, id);
        Some(id)
    }

    /// Takes the next text of a snapshot. False when it is there already, or the table full.
    #[must_use]
    pub(crate) fn restore(&mut self, tag: &str) -> bool {
        let text: Arc<str> = tag.into();
        let fits = self.holders.len() < MAX_TAGS && self.bytes + tag.len() <= MAX_TAG_BYTES;
        if !fits || self.ids.contains_key(tag) {
            return false;
        }
        let id = self.append(Some(text.clone()));
        self.bytes += tag.len();
        self.ids.insert(text, id);
        true
    }

    /// Takes a free number of a snapshot. False when there are too many.
    #[must_use]
    pub(crate) fn restore_free(&mut self) -> bool {
        if self.holders.len() >= MAX_TAGS {
            return false;
        }
        let id = self.append(None);
        self.free.insert(id);
        true
    }

    /// Whether every number is free or held, and the last is held.
    pub(crate) fn is_complete(&self) -> bool {
        let unused = self.holders.iter().filter(|holders| **holders == 0).count();
        unused == self.free.len() && self.holders.last().is_none_or(|holders| *holders > 0)
    }

    pub(crate) fn text(&self, id: TagId) -> Option<Arc<str>> {
        let at = id.place()?;
        self.parts.get(at / PART_TEXTS)?.get(at % PART_TEXTS)?.clone()
    }

    pub(crate) fn knows(&self, id: TagId) -> bool {
        id.place().is_some_and(|at| at < self.holders.len()) && !self.free.contains(&id)
    }

    /// A queue has its first message with the tag.
    pub(crate) fn hold(&mut self, id: TagId) {
        if let Some(holders) = id.place().and_then(|at| self.holders.get_mut(at)) {
            *holders += 1;
        }
    }

    /// A queue has no message with the tag any more.
    pub(crate) fn release(&mut self, id: TagId) {
        let Some(holders) = id.place().and_then(|at| self.holders.get_mut(at)) else { return };
        *holders = holders.saturating_sub(1);
        if *holders > 0 {
            return;
        }
        if let Some(text) = self.slot(id).and_then(Option::take) {
            self.ids.remove(&text);
            self.bytes -= text.len();
            self.free.insert(id);
        }
        self.drop_free_end();
    }

    /// So that equal tags with equal numbers are equal tables.
    fn drop_free_end(&mut self) {
        while let Some(part) = self.parts.last_mut()
            && part.last().is_some_and(Option::is_none)
        {
            Arc::make_mut(part).pop();
            if part.is_empty() {
                self.parts.pop();
            }
            self.free.pop_last();
            self.holders.pop();
        }
    }

    pub(crate) fn parts(&self) -> &[Arc<TagTexts>] {
        &self.parts
    }

    fn append(&mut self, text: Option<Arc<str>>) -> TagId {
        match self.parts.last_mut() {
            Some(part) if part.len() < PART_TEXTS => Arc::make_mut(part).push(text),
            _ => self.parts.push(Arc::new(vec![text])),
        }
        self.holders.push(0);
        TagId(self.holders.len() as u32)
    }

    fn slot(&mut self, id: TagId) -> Option<&mut Option<Arc<str>>> {
        let at = id.place()?;
        Arc::make_mut(self.parts.get_mut(at / PART_TEXTS)?).get_mut(at % PART_TEXTS)
    }

    /// The filter in numbers. A tag that no message has drops out.
    pub(crate) fn resolve(&self, filter: &Filter) -> TagMatch {
        match filter {
            // Verdicts come on top.
            Filter::All | Filter::Judged(_) => TagMatch::All,
            Filter::Tags(tags) => {
                let mut ids: Vec<TagId> =
                    tags.iter().filter_map(|tag| self.ids.get(tag.as_str()).copied()).collect();
                ids.sort_unstable();
                TagMatch::AnyOf(ids)
            }
        }
    }
}

/// A filter in the numbers of one topic.
#[derive(Debug)]
pub(crate) enum TagMatch {
    All,
    /// Sorted.
    AnyOf(Vec<TagId>),
}

impl TagMatch {
    pub(crate) fn takes(&self, tag: TagId) -> bool {
        match self {
            Self::All => true,
            Self::AnyOf(ids) => ids.binary_search(&tag).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_number_and_filters_compare_texts() {
        let mut table = TagTable::default();
        let a = table.intern("a").unwrap();
        let b = table.intern("b").unwrap();
        assert_ne!(a, b);
        assert_eq!(table.intern("a"), Some(a));
        let filter = table.resolve(&Filter::Tags(vec!["b".into(), "unseen".into()]));
        assert!(filter.takes(b) && !filter.takes(a) && !filter.takes(TagId::NONE));
        assert!(table.resolve(&Filter::All).takes(TagId::NONE));
    }

    #[test]
    fn a_full_table_takes_known_tags_only() {
        let mut table = TagTable::default();
        let tag = |n: usize| format!("{n:032768}");
        let fits = MAX_TAG_BYTES / 32768;
        for n in 0..fits {
            assert!(table.intern(&tag(n)).is_some());
        }
        assert_eq!(table.intern("x"), None);
        assert!(table.intern(&tag(0)).is_some());
    }

    fn table(texts: &[&str]) -> TagTable {
        let mut table = TagTable::default();
        for text in texts {
            let id = table.intern(text).unwrap();
            table.hold(id);
        }
        table
    }

    #[test]
    fn a_tag_is_forgotten_with_its_last_queue_and_its_number_used_again() {
        let mut table = table(&["a", "b", "c"]);
        let [a, b, c] = [1, 2, 3].map(TagId);
        table.hold(a);
        table.release(a);
        assert!(table.knows(a) && table.is_complete());
        table.release(a);
        assert!(!table.knows(a) && table.knows(b) && table.is_complete());
        assert!(!table.resolve(&Filter::Tags(vec!["a".into()])).takes(a));
        assert_eq!(table.intern("d"), Some(a));
        assert!(table.resolve(&Filter::Tags(vec!["d".into()])).takes(a));
        table.hold(a);
        table.release(b);
        table.release(c);
        assert_eq!(table, self::table(&["d"]), "nothing of them is left");
        assert_eq!(table.intern("e"), Some(b));
    }

    #[test]
    fn a_full_table_has_room_again() {
        let mut table = TagTable::default();
        let half = MAX_TAG_BYTES / 2;
        let ids = ["x", "y"].map(|text| table.intern(&text.repeat(half)).unwrap());
        ids.into_iter().for_each(|id| table.hold(id));
        assert_eq!(table.intern("z"), None);
        table.release(ids[0]);
        assert_eq!(table.intern("z"), Some(ids[0]));
        assert!(table.intern(&"x".repeat(half - 1)).is_some());
    }

    #[test]
    fn many_parts_are_forgotten_in_any_order() {
        let texts: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
        let mut table = table(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let frozen = table.parts().to_vec();
        for n in 0..5000u32 {
            table.release(TagId((n * 7919) % 5000 + 1));
            assert!(table.is_complete());
        }
        assert_eq!(table, TagTable::default());
        let kept = frozen.iter().flat_map(|part| part.iter()).filter(|text| text.is_some()).count();
        assert_eq!(kept, 5000, "what is shared does not change");
    }
}
