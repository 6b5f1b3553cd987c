//! Filter expressions of receive calls and subscriptions.
//!
//! Each receive uses the filter it brings, whatever others of its consumer group ask for: what it refuses is settled
//! for the whole group, and what another has taken it never sees.

use std::collections::HashMap;
use std::sync::Arc;

use mainstay_messaging::Filter;
use mainstay_messaging::sql::Expression;
use mainstay_proto::rocketmq::{Code, FilterExpression, FilterType};
use parking_lot::Mutex;

use super::refusal::{Checked, Refusal};

const ANY: &str = "*";
const OR: &str = "||";
const MAX_TAGS_BYTES: usize = 4096;
/// Bytes of SQL expressions kept in each of the two halves of the cache.
const HALF_CACHE_BYTES: usize = 256 << 10;

/// What a consumer wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    /// What the state decides by itself.
    Filtered(Filter),
    /// Messages whose properties meet a condition.
    Where(Arc<Expression>),
}

/// Reads filter expressions, and keeps the SQL ones that were used lately, so that polls do not parse them again.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    cache: Mutex<Cache>,
}

/// Once the newer half is full, it takes the place of the older one.
#[derive(Debug, Default)]
struct Cache {
    newer: HashMap<String, Arc<Expression>>,
    older: HashMap<String, Arc<Expression>>,
    newer_bytes: usize,
}

impl Filters {
    /// Reads `*`, an empty expression, tags joined by `||`, or SQL.
    ///
    /// # Errors
    /// `ILLEGAL_FILTER_EXPRESSION` for what does not parse; of SQL it names the character.
    pub(crate) fn parse(&self, expression: Option<&FilterExpression>) -> Checked<Wanted> {
        let Some(expression) = expression else { return Ok(Wanted::Filtered(Filter::All)) };
        let FilterExpression { r#type, expression } = expression;
        match FilterType::try_from(*r#type) {
            Ok(FilterType::Tag | FilterType::Unspecified) => tags(expression.trim()).map(Wanted::Filtered),
            Ok(FilterType::Sql) => self.condition(expression).map(Wanted::Where),
            Err(unknown) => Err(illegal(&format!("type is unknown: {unknown}"))),
        }
    }

    fn condition(&self, text: &str) -> Checked<Arc<Expression>> {
        if let Some(known) = self.cache.lock().get(text) {
            return Ok(known);
        }
        let parsed = Expression::parse(text).map_err(|error| illegal(&format!("is not SQL: {error}")))?;
        let parsed = Arc::new(parsed);
        self.cache.lock().insert(text, &parsed);
        Ok(parsed)
    }
}

impl Cache {
    fn get(&mut self, text: &str) -> Option<Arc<Expression>> {
        if let Some(known) = self.newer.get(text) {
            return Some(Arc::clone(known));
        }
        let known = self.older.remove(text)?;
        self.insert(text, &known);
        Some(known)
    }

    fn insert(&mut self, text: &str, parsed: &Arc<Expression>) {
        if self.newer_bytes + text.len() > HALF_CACHE_BYTES {
            self.older = std::mem::take(&mut self.newer);
            self.newer_bytes = 0;
        }
        if self.newer.insert(text.to_owned(), Arc::clone(parsed)).is_none() {
            self.newer_bytes += text.len();
        }
    }
}

fn tags(expression: &str) -> Checked<Filter> {
    if expression.is_empty() || expression == ANY {
        return Ok(Filter::All);
    }
    if expression.len() > MAX_TAGS_BYTES {
        return Err(illegal(&format!("is longer than {MAX_TAGS_BYTES} bytes")));
    }
    let mut tags: Vec<String> =
        expression.split(OR).map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
    if let Some(bad) = tags.iter().find(|tag| tag.contains('|') || tag.chars().any(char::is_control)) {
        return Err(illegal(&format!("has the impossible tag '{}'", bad.escape_debug())));
    }
    if tags.is_empty() {
        return Err(illegal("names no tag"));
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(Filter::Tags(tags))
}

fn illegal(why: &str) -> Refusal {
    Refusal::new(Code::IllegalFilterExpression, format!("filter_expression {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(kind: FilterType, expression: &str) -> Checked<Wanted> {
        let expression = FilterExpression { r#type: kind as i32, expression: expression.to_owned() };
        Filters::default().parse(Some(&expression))
    }

    #[test]
    fn tag_expressions() {
        let all = || Ok(Wanted::Filtered(Filter::All));
        let tags = |tags: &[&str]| {
            Ok(Wanted::Filtered(Filter::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect())))
        };
        for (expression, expected) in [
            ("*", all()),
            (" ", all()),
            ("a", tags(&["a"])),
            (" b || a||b ", tags(&["a", "b"])),
            ("a || || b", tags(&["a", "b"])),
            ("* || a", tags(&["*", "a"])),
        ] {
            assert_eq!(parsed(FilterType::Tag, expression), expected, "{expression}");
        }
        for expression in ["||", "a|b", "a\u{1}", &"x".repeat(5000)] {
            let refusal = parsed(FilterType::Tag, expression).unwrap_err();
            assert_eq!(refusal.code, Code::IllegalFilterExpression, "{expression}");
            assert!(refusal.message.contains("filter_expression"));
        }
        assert_eq!(Filters::default().parse(None), all());
        assert_eq!(parsed(FilterType::Unspecified, "*"), all());
    }

    #[test]
    fn sql_is_parsed_and_never_taken_for_tags() {
        let expected = Wanted::Where(Arc::new(Expression::parse("a > 1").unwrap()));
        assert_eq!(parsed(FilterType::Sql, "a > 1"), Ok(expected));
        for (expression, place) in
            [("a >", "at character 4"), ("", "at character 1"), ("*", "at character 1")]
        {
            let refusal = parsed(FilterType::Sql, expression).unwrap_err();
            assert_eq!(refusal.code, Code::IllegalFilterExpression);
            assert!(refusal.message.contains(place), "{refusal}");
            assert!(refusal.message.contains("filter_expression"), "{refusal}");
        }
    }

    #[test]
    fn sql_that_is_used_stays_parsed_and_the_cache_stays_small() {
        let filters = Filters::default();
        let kept = filters.condition("kept = 1").unwrap();
        for n in 0..1000 {
            filters.condition(&format!("a = '{}{n}'", "x".repeat(4000))).unwrap();
            assert!(Arc::ptr_eq(&kept, &filters.condition("kept = 1").unwrap()), "{n}");
            let cache = filters.cache.lock();
            let bytes = |half: &HashMap<String, _>| half.keys().map(String::len).sum::<usize>();
            assert_eq!(bytes(&cache.newer), cache.newer_bytes);
            assert!(bytes(&cache.newer).max(bytes(&cache.older)) <= HALF_CACHE_BYTES);
        }
        let cache = filters.cache.lock();
        assert!(cache.newer.len() + cache.older.len() < 200);
    }
}
