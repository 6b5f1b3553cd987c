use super::*;

struct Given<'a>(&'a [(&'a str, &'a str)]);

impl Properties for Given<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

const MESSAGE: Given<'static> = Given(&[
    ("TAGS", "red"),
    ("n", "5"),
    ("m", "-7"),
    ("f", "2.5"),
    ("big", "9007199254740993"),
    ("word", "apple"),
    ("other", "banana"),
    ("quote", "it's"),
    ("yes", "True"),
    ("no", "false"),
    ("empty", ""),
    ("_$1", "odd"),
    ("like", "a"),
    ("percent", "10%"),
]);

fn matches(text: &str) -> bool {
    Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).matches(&MESSAGE)
}

/// Neither the condition nor its contrary is true.
fn is_unknown(text: &str) -> bool {
    !matches(text) && !matches(&format!("NOT ({text})"))
}

#[test]
fn true_conditions() {
    for text in [
        "TRUE",
        "n = 5",
        "5 = n",
        "n=5.0",
        "n = 5L and n = 5l",
        "n <> 4 AND n != 4",
        "n > 4 AND n >= 5 AND n < 6 AND n <= 5",
        "m = -7 AND -m = 7 AND m < -6.5 AND - -7 = 7 AND +n = 5",
        "f = 2.5 AND f > 2 AND f = 25e-1 AND f < 25E+1",
        "f = .25E1 AND f >= 2.",
        "big = 9007199254740993 AND big <> 9007199254740992.0 AND big > 9007199254740992",
        "m > -9223372036854775808",
        "word = 'apple' AND 'apple' = word",
        "quote = 'it''s'",
        "n = '5'",
        "n > m AND m < f",
        "n = n",
        "word < 'b' AND word >= 'apple' AND word BETWEEN 'a' AND 'b'",
        "n BETWEEN 5 AND 5 AND n NOT BETWEEN 6 AND 9 AND f BETWEEN m AND n",
        "word IN ('x', 'apple', 'it''s') AND word NOT IN ('x') AND quote IN ('it''s')",
        "missing IS NULL AND n IS NOT NULL AND NULL IS NULL",
        "(missing = 1) IS NULL AND missing = 1 IS NULL",
        "word LIKE 'a%' AND word LIKE '_pp_e' AND word NOT LIKE 'b%'",
        "percent LIKE '10!%' ESCAPE '!' AND n NOT LIKE '5!%' ESCAPE '!'",
        "word CONTAINS 'ppl' AND word STARTSWITH 'app' AND word ENDSWITH 'le'",
        "word NOT CONTAINS 'x' AND word NOT STARTSWITH 'x' AND word NOT ENDSWITH 'x'",
        "TAGS = 'red'",
        "yes AND NOT no AND NOT word",
        "yes = TRUE AND TRUE = yes AND no = FALSE AND yes <> no",
        "(n > 4) = TRUE AND (n > 4) = (m < 0) AND n > 4 = TRUE",
        "_$1 = 'odd'",
        "like LIKE 'a' AND LIKE = 'b' OR like = 'a'",
        "FALSE AND FALSE OR TRUE",
        "TRUE OR FALSE AND FALSE",
        "NOT n = 4 AND NOT NOT n = 5",
        "NOT n = 4 OR FALSE",
        "nOt FaLsE aNd tRuE",
        "missing = 1 OR n = 5",
        "n = 5 OR missing = 1",
        "NOT (missing = 1 AND n = 4)",
        "n = 5 -- to the end\n AND /* * ** / */ TRUE /**/ /***/ -- at the end",
        "empty = '' AND empty IS NOT NULL AND empty LIKE ''",
        "((((n))) = (((5))))",
        "'a' < 'b'",
        "'5' = n AND '5' = 5",
        "\tn\r\n=\u{c}5 ",
    ] {
        assert!(matches(text), "{text}");
        assert!(!matches(&format!("NOT ({text}\n)")), "{text}");
    }
}

#[test]
fn unknown_conditions() {
    for text in [
        "NULL",
        "missing",
        "missing = 1",
        "missing <> 1",
        "missing = missing",
        "missing = word",
        "missing > 1",
        "missing = 'x'",
        "missing = TRUE",
        "missing BETWEEN 1 AND 2",
        "n BETWEEN missing AND 7",
        "missing IN ('a')",
        "missing NOT IN ('a')",
        "missing LIKE '%'",
        "missing CONTAINS 'a'",
        "missing NOT CONTAINS 'a'",
        "word CONTAINS ''",
        "word NOT STARTSWITH ''",
        "word > 1",
        "word = 1",
        "word <> 1",
        "word > other",
        "n > word",
        "empty = 0",
        "-word = 1",
        "-missing = 1",
        "missing = 1 AND TRUE",
        "missing = 1 OR FALSE",
        "NOT missing = 1",
        "(missing = 1) = TRUE",
    ] {
        assert!(is_unknown(text), "{text}");
    }
}

#[test]
fn false_conditions() {
    for text in [
        "FALSE",
        "n = 4",
        "n <> 5",
        "n > 5",
        "word = 'Apple'",
        "word = other",
        "N = 5 OR FALSE AND TRUE OR word = 'pear'",
        "n BETWEEN 6 AND 9",
        "n BETWEEN missing AND 4",
        "word IN ('x')",
        "word LIKE 'A%'",
        "missing = 1 AND FALSE",
        "n = '5.0'",
        "f > '3'",
        "yes = FALSE",
        "word = TRUE",
        "missing IS NOT NULL",
        "n = 5 AND n = 4 OR n = 3",
    ] {
        assert!(!matches(text), "{text}");
    }
}

#[test]
fn refused_texts_name_the_place_and_what_was_expected() {
    for (text, column, words) in [
        ("", 1, "expected a property"),
        ("   ", 4, "found the end"),
        ("a >", 4, "expected a property"),
        ("a > > 1", 5, "found '>'"),
        ("a = 1 b = 2", 7, "expected AND, OR or the end"),
        ("a = 1 AND", 10, "found the end"),
        ("a and between 2 and 10", 7, "found 'between'"),
        ("(a = 1", 7, "')'"),
        ("a = 1)", 6, "found ')'"),
        ("ü = 1", 1, "'ü'"),
        ("a = 'ü' AND # = 1", 13, "'#'"),
        ("a.b = 1", 2, "found '.'"),
        ("a = 'x", 5, "not ended"),
        ("a = 'x'' AND b = 1", 5, "not ended"),
        ("a = 1 /* b", 7, "comment is not ended"),
        ("a = 9223372036854775808", 5, "out of range"),
        ("a = -9223372036854775809", 6, "out of range"),
        ("a > 100000000000000000000000", 5, "out of range"),
        ("a = 1e999", 5, "out of range"),
        ("a = 01", 5, "begins with 0"),
        ("a = 5x", 6, "'x'"),
        ("a = 1.2.3", 8, "'.'"),
        ("a = .", 5, "'.'"),
        ("a == 1", 4, "found '='"),
        ("a = NULL", 5, "IS NULL"),
        ("NULL <> a", 1, "IS NULL"),
        ("a > NULL", 5, "IS NULL"),
        ("a BETWEEN NULL AND 3", 11, "IS NULL"),
        ("a > TRUE", 5, "no order"),
        ("(a = 1) > 2", 1, "no order"),
        ("a = 1 = 1", 9, "a condition can be compared"),
        ("TRUE = 'true'", 8, "a condition can be compared"),
        ("a BETWEEN 10 AND 0", 11, "above the upper"),
        ("a BETWEEN 'b' AND 'a'", 11, "above the upper"),
        ("a BETWEEN 1 AND 'a'", 11, "bound"),
        ("a BETWEEN 1 OR 2", 13, "expected AND"),
        ("a NOT 5", 7, "expected BETWEEN, IN, LIKE"),
        ("a IN ()", 7, "expected a text"),
        ("a IN (1)", 7, "found the number 1"),
        ("a IN ('1' '2')", 11, "expected ',' or ')'"),
        ("a IN '1'", 6, "expected '('"),
        ("'a' IN ('a')", 1, "IN needs a property"),
        ("a IS 5", 6, "expected NULL or NOT NULL"),
        ("a IS NOT 5", 10, "expected NULL"),
        ("a LIKE b", 8, "pattern"),
        ("a LIKE 'b' ESCAPE 'cd'", 19, "exactly one"),
        ("a LIKE 'b' ESCAPE ''", 19, "exactly one"),
        ("a LIKE 'b!c' ESCAPE '!'", 8, "escape character"),
        ("5 LIKE '5'", 1, "searched"),
        ("a CONTAINS 5", 12, "expected a text"),
        ("(a = 1) CONTAINS '1'", 1, "searched"),
        ("5", 1, "a number is no condition"),
        ("a = 1 AND 'x'", 11, "a text is no condition"),
        ("NOT 5", 5, "a number is no condition"),
        ("-'x' = 1", 1, "a sign needs"),
        ("-(a = 1)", 1, "a sign needs"),
        ("a + 1 = 2", 3, "found '+'"),
        ("a = 'one\ntwo' AND ?", 19, "'?'"),
    ] {
        let error = Expression::parse(text).expect_err(text);
        let shown = error.to_string();
        assert_eq!(error.column, column, "{text}: {shown}");
        assert!(shown.contains(words), "{text}: {shown}");
        assert!(shown.starts_with(&format!("at character {column}: ")), "{shown}");
    }
}

#[test]
fn length_and_depth_are_limited() {
    let long = format!("a = '{}'", "x".repeat(MAX_EXPRESSION_BYTES));
    assert!(matches!(Expression::parse(&long).unwrap_err().problem, SqlProblem::TooLong { .. }));
    let nested = |levels: usize, open: &str, close: &str| {
        Expression::parse(&format!("{}a{}", open.repeat(levels), close.repeat(levels)))
    };
    for (open, close) in [("(", ")"), ("NOT ", ""), ("- ", " "), ("+", ""), ("", " IS NULL"), ("", " = a")] {
        let close = if open == "- " || open == "+" { "" } else { close };
        let suffix = if open == "- " || open == "+" { " = 1" } else { "" };
        let deepest = format!("{}a{}{suffix}", open.repeat(MAX_DEPTH - 1), close.repeat(MAX_DEPTH - 1));
        assert!(Expression::parse(&deepest).is_ok(), "{open}a{close}");
        for levels in [MAX_DEPTH + 1, 1600] {
            let error = nested(levels, open, close).unwrap_err();
            assert_eq!(error.problem, SqlProblem::TooDeep { limit: MAX_DEPTH }, "{open}a{close}");
        }
    }
    let wide = vec!["a = 1"; 1000].join(" OR ");
    assert!(Expression::parse(&wide).is_ok(), "what is beside each other is not deep");
    let mixed = "NOT (- a = 1 AND ".repeat(800);
    assert_eq!(Expression::parse(&mixed).unwrap_err().problem, SqlProblem::TooDeep { limit: MAX_DEPTH });
}

#[test]
fn an_expression_tells_which_properties_it_names() {
    let expression =
        Expression::parse("NOT (a = 1) AND -b > 2 OR c IN ('x') OR d LIKE 'y' AND (e IS NULL) = f").unwrap();
    for name in ["a", "b", "c", "d", "e", "f"] {
        assert!(expression.names(name), "{name}");
    }
    assert!(!expression.names("x") && !expression.names("A"));
}
