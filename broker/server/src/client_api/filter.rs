//! Filter expressions of receive calls.

use mainstay_messaging::Filter;
use mainstay_proto::rocketmq::{Code, FilterExpression, FilterType};

use super::refusal::{Checked, Refusal};

const ANY: &str = "*";
const OR: &str = "||";
const MAX_EXPRESSION_BYTES: usize = 4096;

/// Reads `*`, an empty expression, or tags joined by `||`.
///
/// # Errors
/// `ILLEGAL_FILTER_EXPRESSION` for what does not parse, `NOT_IMPLEMENTED` for SQL.
pub(crate) fn parse(expression: Option<&FilterExpression>) -> Checked<Filter> {
    let Some(expression) = expression else { return Ok(Filter::All) };
    match FilterType::try_from(expression.r#type) {
        Ok(FilterType::Tag | FilterType::Unspecified) => tags(expression.expression.trim()),
        Ok(FilterType::Sql) => Err(Refusal::not_supported_yet("filter_expression of type SQL")),
        Err(unknown) => Err(illegal(&format!("type is unknown: {unknown}"))),
    }
}

fn tags(expression: &str) -> Checked<Filter> {
    if expression.is_empty() || expression == ANY {
        return Ok(Filter::All);
    }
    if expression.len() > MAX_EXPRESSION_BYTES {
        return Err(illegal(&format!("is longer than {MAX_EXPRESSION_BYTES} bytes")));
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

    fn parsed(kind: FilterType, expression: &str) -> Checked<Filter> {
        parse(Some(&FilterExpression { r#type: kind as i32, expression: expression.to_owned() }))
    }

    #[test]
    fn tag_expressions() {
        let tags = |tags: &[&str]| Ok(Filter::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect()));
        for (expression, expected) in [
            ("*", Ok(Filter::All)),
            (" ", Ok(Filter::All)),
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
        assert_eq!(parse(None), Ok(Filter::All));
        assert_eq!(parsed(FilterType::Unspecified, "*"), Ok(Filter::All));
    }

    #[test]
    fn sql_is_refused_and_never_taken_for_tags() {
        let refusal = parsed(FilterType::Sql, "a > 1").unwrap_err();
        assert_eq!(refusal.code, Code::NotImplemented);
        assert!(refusal.message.contains("SQL"), "{refusal}");
    }
}
