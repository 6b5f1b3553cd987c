//! Patterns of LIKE: `%` stands for any text, `_` for any one character.
//!
//! A pattern is the pieces between its `%`. The first piece is held against the text's beginning, the last against its
//! end, and each of the others against the first place where it fits, since an earlier place leaves more for the rest.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    first: Piece,
    /// Between two `%` each.
    middle: Vec<Piece>,
    /// `None` without any `%`: the first piece is all.
    last: Option<Piece>,
}

/// Text without a `%`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// `None` is any one character.
    Gaps(Box<[Option<char>]>),
}

/// The character that was to free another from its meaning stands before one that has none, or at the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadEscape;

impl Pattern {
    /// # Errors
    /// When `escape` stands before anything but `%`, `_` and itself.
    pub(super) fn new(pattern: &str, escape: Option<char>) -> Result<Self, BadEscape> {
        let mut pieces = vec![Vec::new()];
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            let matcher = if Some(character) == escape {
                let freed =
                    characters.next().filter(|next| matches!(next, '%' | '_') || Some(*next) == escape);
                Some(freed.ok_or(BadEscape)?)
            } else if character == '%' {
                pieces.push(Vec::new());
                continue;
            } else {
                (character != '_').then_some(character)
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(matcher);
            }
        }
        let mut pieces = pieces.into_iter().map(Piece::new);
        let first = pieces.next().unwrap_or(Piece::Text("".into()));
        let last = pieces.next_back();
        Ok(Self { first, middle: pieces.collect(), last })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let Some(mut rest) = self.first.after_start(text) else { return false };
        let Some(last) = &self.last else { return rest.is_empty() };
        for piece in &self.middle {
            let Some(after) = piece.after_first(rest) else { return false };
            rest = after;
        }
        last.is_end(rest)
    }
}

impl Piece {
    fn new(matchers: Vec<Option<char>>) -> Self {
        let text: Option<String> = matchers.iter().copied().collect();
        text.map_or_else(|| Self::Gaps(matchers.into()), |text| Self::Text(text.into()))
    }

    /// What follows the piece, where the text begins with it.
    fn after_start<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(piece) => text.strip_prefix(&**piece),
            Self::Gaps(piece) => {
                let mut rest = text.chars();
                let fits = piece.iter().all(|wanted| {
                    rest.next().is_some_and(|character| wanted.is_none_or(|wanted| wanted == character))
                });
                fits.then_some(rest.as_str())
            }
        }
    }

    /// What follows the first place where the piece fits.
    fn after_first<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(piece) => text.find(&**piece).map(|at| &text[at + piece.len()..]),
            Self::Gaps(_) => text.char_indices().find_map(|(at, _)| self.after_start(&text[at..])),
        }
    }

    fn is_end(&self, text: &str) -> bool {
        match self {
            Self::Text(piece) => text.ends_with(&**piece),
            Self::Gaps(piece) => {
                let mut rest = text.chars();
                piece.iter().rev().all(|wanted| {
                    rest.next_back().is_some_and(|character| wanted.is_none_or(|wanted| wanted == character))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, fits, misses) in [
            ("", &[""][..], &["a"][..]),
            ("abc", &["abc"], &["", "ab", "abcd", "ABC"]),
            ("%", &["", "a", "ab\nc"], &[]),
            ("a%", &["a", "ab"], &["", "ba"]),
            ("%a", &["a", "ba"], &["", "ab"]),
            ("%a%", &["a", "bab"], &["", "b"]),
            ("a%a", &["aa", "aba"], &["a", "ab"]),
            ("_", &["a", "ü", "日"], &["", "ab"]),
            ("a_c", &["abc", "aüc"], &["ac", "abbc"]),
            ("_%_", &["ab", "abc"], &["", "a"]),
            ("%ab%ab%", &["abab", "xabyabz"], &["aba", "ab"]),
            ("%a_b%c", &["aaxbc", "axbyc"], &["abc", "axb"]),
            ("%%%", &["", "x"], &[]),
        ] {
            let pattern = Pattern::new(pattern, None).unwrap();
            fits.iter().for_each(|text| assert!(pattern.matches(text), "{pattern:?} {text}"));
            misses.iter().for_each(|text| assert!(!pattern.matches(text), "{pattern:?} {text}"));
        }
    }

    #[test]
    fn escapes() {
        let percent = Pattern::new("1!%!_!!%", Some('!')).unwrap();
        assert!(percent.matches("1%_!") && percent.matches("1%_!x"));
        assert!(!percent.matches("1x_!") && !percent.matches("1%x!"));
        assert!(Pattern::new("1\\%", None).unwrap().matches("1\\x"), "no character escapes by itself");
        assert!(Pattern::new("%%", Some('%')).unwrap().matches("%"));
        for bad in ["a!", "!a", "!!!"] {
            assert_eq!(Pattern::new(bad, Some('!')), Err(BadEscape));
        }
    }

    #[test]
    fn long_patterns_on_long_texts_end_soon() {
        let pattern = Pattern::new(&format!("%{}b%", "a".repeat(2000)), None).unwrap();
        assert!(!pattern.matches(&"a".repeat(16_000)));
        let many = Pattern::new(&"%a".repeat(2000), None).unwrap();
        assert!(!many.matches(&"b".repeat(16_000)) && many.matches(&"a".repeat(2000)));
    }
}
