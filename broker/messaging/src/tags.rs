//! The tags of one topic, each text with a number of its own. Queue indexes hold the numbers, so a tag filter compares
//! exactly, not by hash, and without reading a message.

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
}

/// Texts of tags with numbers in a row.
pub(crate) type TagTexts = Vec<Arc<str>>;

/// Texts that are kept, and shared with a frozen state, together.
const PART_TEXTS: usize = 1024;
const PART_BYTES: usize = 64 * 1024;

/// All tags seen in a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TagTable {
    ids: foldhash::HashMap<Arc<str>, TagId>,
    /// All texts by their numbers, from 1. A part that is added to while a frozen state shares it is copied first.
    parts: Vec<Arc<TagTexts>>,
    bytes: usize,
    last_part_bytes: usize,
}

impl TagTable {
    /// The number of `tag`, new if need be. `None` when the table is full.
    pub(crate) fn intern(&mut self, tag: &str) -> Option<TagId> {
        if let Some(id) = self.ids.get(tag) {
            return Some(*id);
        }
        if self.ids.len() >= MAX_TAGS || self.bytes + tag.len() > MAX_TAG_BYTES {
            return None;
        }
        let id = TagId(self.ids.len() as u32 + 1);
        let text: Arc<str> = tag.into();
        self.ids.insert(text.clone(), id);
        self.bytes += tag.len();
        match self.parts.last_mut() {
            Some(part) if part.len() < PART_TEXTS && self.last_part_bytes < PART_BYTES => {
                Arc::make_mut(part).push(text);
                self.last_part_bytes += tag.len();
            }
            _ => {
                self.parts.push(Arc::new(vec![text]));
                self.last_part_bytes = tag.len();
            }
        }
        Some(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn parts(&self) -> &[Arc<TagTexts>] {
        &self.parts
    }

    /// The filter in numbers. A tag that no message has drops out.
    pub(crate) fn resolve(&self, filter: &Filter) -> TagMatch {
        match filter {
            Filter::All => TagMatch::All,
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
}
