//! Filter expressions: generated trees are written down, parsed and evaluated, and the outcome compared with what a
//! naive evaluator of the tree says. No text at all makes the parser panic.

use std::collections::BTreeMap;

use mainstay_messaging::sql::{Expression, MAX_EXPRESSION_BYTES, Properties};
use proptest::prelude::*;

/// False, unknown and true are 0, 1 and 2: AND is the least, OR the greatest, NOT the distance from 2.
type Truth = u8;

#[derive(Debug, Clone)]
enum Operand {
    Property(&'static str),
    Text(String),
    Whole(i32),
    /// In quarters, which decimals hold exactly.
    Quarters(i32),
}

#[derive(Debug, Clone)]
enum Tree {
    Literal(Truth),
    Flag(&'static str),
    Compare(Operand, &'static str, Operand),
    Between(bool, Operand, Operand, Operand),
    In(bool, &'static str, Vec<String>),
    IsNull(bool, Operand),
    Like(bool, &'static str, String),
    Search(bool, &'static str, &'static str, String),
    Not(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
    /// Of two conditions.
    Same(Box<Tree>, Box<Tree>),
}

#[derive(Debug, Clone, Default)]
struct Message(BTreeMap<&'static str, String>);

impl Properties for Message {
    fn property(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

const NAMES: [&str; 4] = ["a", "b", "TAGS", "like"];

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Operand {
    fn written(&self) -> String {
        match self {
            Self::Property(name) => (*name).to_owned(),
            Self::Text(text) => quoted(text),
            Self::Whole(whole) => whole.to_string(),
            Self::Quarters(quarters) => format!("{:?}", f64::from(*quarters) / 4.0),
        }
    }

    fn text(&self, message: &Message) -> Option<String> {
        match self {
            Self::Property(name) => message.0.get(name).cloned(),
            Self::Text(text) => Some(text.clone()),
            Self::Whole(whole) => Some(whole.to_string()),
            Self::Quarters(quarters) => Some((f64::from(*quarters) / 4.0).to_string()),
        }
    }

    const fn is_number(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::Quarters(_))
    }
}

fn truth(met: bool) -> Truth {
    if met { 2 } else { 0 }
}

fn compare(left: &Operand, by: &str, right: &Operand, message: &Message) -> Truth {
    let (Some(one), Some(other)) = (left.text(message), right.text(message)) else { return 1 };
    let has_text = matches!(left, Operand::Text(_)) || matches!(right, Operand::Text(_));
    let equality = matches!(by, "=" | "<>" | "!=");
    let by_text = !left.is_number() && !right.is_number() && (has_text || equality);
    let order = if by_text {
        one.cmp(&other)
    } else {
        // The texts generated have no infinities, and no number that a decimal does not hold.
        let (Ok(one), Ok(other)) = (one.parse::<f64>(), other.parse::<f64>()) else { return 1 };
        one.partial_cmp(&other).unwrap()
    };
    truth(match by {
        "=" => order.is_eq(),
        "<>" | "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        _ => unreachable!("{by}"),
    })
}

/// By trying everything.
fn like(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|skipped| like(rest, &text[skipped..])),
        Some((wanted, rest)) => text
            .split_first()
            .is_some_and(|(found, more)| (*wanted == '_' || wanted == found) && like(rest, more)),
    }
}

impl Tree {
    fn truth(&self, message: &Message) -> Truth {
        let turned = |negated: bool, truth: Truth| if negated { 2 - truth } else { truth };
        match self {
            Self::Literal(truth) => *truth,
            Self::Flag(name) => {
                message.0.get(name).map_or(1, |text| truth(text.eq_ignore_ascii_case("true")))
            }
            Self::Compare(left, by, right) => compare(left, by, right, message),
            Self::Between(negated, value, low, high) => {
                let above = compare(value, ">=", low, message);
                turned(*negated, above.min(compare(value, "<=", high, message)))
            }
            Self::In(negated, name, texts) => {
                turned(*negated, message.0.get(name).map_or(1, |text| truth(texts.contains(text))))
            }
            Self::IsNull(negated, operand) => turned(*negated, truth(operand.text(message).is_none())),
            Self::Like(negated, name, pattern) => {
                let pattern: Vec<char> = pattern.chars().collect();
                let fits = |text: &String| like(&pattern, &text.chars().collect::<Vec<_>>());
                turned(*negated, message.0.get(name).map_or(1, |text| truth(fits(text))))
            }
            Self::Search(negated, name, place, wanted) => {
                let Some(text) = message.0.get(name).filter(|_| !wanted.is_empty()) else { return 1 };
                let places: Vec<usize> = text.match_indices(wanted.as_str()).map(|(at, _)| at).collect();
                let met = match *place {
                    "CONTAINS" => !places.is_empty(),
                    "STARTSWITH" => places.contains(&0),
                    _ => text
                        .chars()
                        .rev()
                        .collect::<String>()
                        .starts_with(&wanted.chars().rev().collect::<String>()),
                };
                turned(*negated, truth(met))
            }
            Self::Not(tree) => 2 - tree.truth(message),
            Self::And(trees) => trees.iter().map(|tree| tree.truth(message)).min().unwrap(),
            Self::Or(trees) => trees.iter().map(|tree| tree.truth(message)).max().unwrap(),
            Self::Same(left, right) => match (left.truth(message), right.truth(message)) {
                (1, _) | (_, 1) => 1,
                (left, right) => truth(left == right),
            },
        }
    }

    /// How tightly it binds: OR 0, AND 1, NOT 2, equality 3, all else 4.
    const fn tightness(&self) -> u8 {
        match self {
            Self::Or(_) => 0,
            Self::And(_) => 1,
            Self::Not(_) => 2,
            Self::Same(..) | Self::IsNull(..) => 3,
            Self::Compare(_, by, _) if matches!(by.as_bytes(), b"=" | b"<>" | b"!=") => 3,
            _ => 4,
        }
    }

    /// With no more parentheses than it needs inside something that binds as tightly as `around`.
    fn written(&self, around: u8) -> String {
        let not = |negated: bool| if negated { "nOT " } else { "" };
        let joined = |trees: &[Self], by: &str, around: u8| {
            trees.iter().map(|tree| tree.written(around)).collect::<Vec<_>>().join(by)
        };
        let text = match self {
            Self::Literal(truth) => ["FALSE", "null", "True"][usize::from(*truth)].to_owned(),
            Self::Flag(name) => (*name).to_owned(),
            Self::Compare(left, by, right) => format!("{}{by} {}", left.written(), right.written()),
            Self::Between(negated, value, low, high) => {
                let (value, low, high) = (value.written(), low.written(), high.written());
                format!("{value} {}between {low} AND {high}", not(*negated))
            }
            Self::In(negated, name, texts) => {
                let texts = texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(" ,");
                format!("{name} {}In({texts})", not(*negated))
            }
            Self::IsNull(negated, operand) => format!("{} IS {}NULL", operand.written(), not(*negated)),
            Self::Like(negated, name, pattern) => format!("{name} {}like{}", not(*negated), quoted(pattern)),
            Self::Search(negated, name, place, text) => {
                format!("{name} {}{place}{}", not(*negated), quoted(text))
            }
            Self::Not(tree) => format!("NOT {}", tree.written(2)),
            Self::And(trees) => joined(trees, " and ", 2),
            Self::Or(trees) => joined(trees, "/* or */OR -- else\n", 1),
            Self::Same(left, right) => format!("({}) = ({})", left.written(0), right.written(0)),
        };
        if self.tightness() < around { format!("({text})") } else { text }
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[ab'%_]{0,4}",
        2 => (-8i32..8).prop_map(|whole| whole.to_string()),
        1 => (-32i32..32).prop_map(|quarters| (f64::from(quarters) / 4.0).to_string()),
        1 => Just("tRUE".to_owned()),
        1 => "[ü日a]{0,3}",
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        3 => name().prop_map(Operand::Property),
        1 => text().prop_map(Operand::Text),
        2 => (-8i32..8).prop_map(Operand::Whole),
        1 => (-32i32..32).prop_map(Operand::Quarters),
    ]
}

/// Bounds that are both literals of one kind and in the wrong order, or of two kinds, are refused.
fn bounds() -> impl Strategy<Value = (Operand, Operand)> {
    (operand(), operand()).prop_map(|(low, high)| {
        let none = Message::default();
        match (&low, &high) {
            (Operand::Property(_), _) | (_, Operand::Property(_)) => (low, high),
            (Operand::Text(_), Operand::Text(_)) | (_, _)
                if compare(&low, "<=", &high, &none) == 2
                    && matches!(low, Operand::Text(_)) == matches!(high, Operand::Text(_)) =>
            {
                (low, high)
            }
            _ => (low.clone(), low),
        }
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let operators = prop::sample::select(&["=", "<>", "!=", "<", "<=", ">", ">="][..]);
    let places = prop::sample::select(&["CONTAINS", "STARTSWITH", "ENDSWITH"][..]);
    let leaf = prop_oneof![
        1 => (0u8..3).prop_map(Tree::Literal),
        1 => name().prop_map(Tree::Flag),
        6 => (operand(), operators, operand()).prop_map(|(left, by, right)| Tree::Compare(left, by, right)),
        2 => (any::<bool>(), operand(), bounds())
            .prop_map(|(negated, value, (low, high))| Tree::Between(negated, value, low, high)),
        2 => (any::<bool>(), name(), prop::collection::vec(text(), 1..7))
            .prop_map(|(negated, name, texts)| Tree::In(negated, name, texts)),
        2 => (any::<bool>(), operand()).prop_map(|(negated, operand)| Tree::IsNull(negated, operand)),
        3 => (any::<bool>(), name(), "[ab%_]{0,5}")
            .prop_map(|(negated, name, pattern)| Tree::Like(negated, name, pattern)),
        2 => (any::<bool>(), name(), places, "[ab%]{0,2}")
            .prop_map(|(negated, name, place, text)| Tree::Search(negated, name, place, text)),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let some = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            some.clone().prop_map(Tree::And),
            some.prop_map(Tree::Or),
            (inner.clone(), inner).prop_filter_map(
                "the word NULL is compared by IS NULL only",
                |(left, right)| {
                    let fits = |tree: &Tree| !matches!(tree, Tree::Literal(1) | Tree::Flag(_));
                    (fits(&left) && fits(&right)).then(|| Tree::Same(Box::new(left), Box::new(right)))
                }
            ),
        ]
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop::collection::btree_map(name(), text(), 0..=NAMES.len()).prop_map(Message)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn expressions_mean_what_the_naive_evaluator_says(tree in tree(), message in message()) {
        let text = tree.written(0);
        prop_assume!(text.len() <= MAX_EXPRESSION_BYTES);
        let parsed = Expression::parse(&text);
        prop_assert!(parsed.is_ok(), "{text}: {parsed:?}");
        let contrary = Expression::parse(&format!("NOT ({text})")).unwrap();
        let truth = tree.truth(&message);
        prop_assert_eq!(parsed.unwrap().matches(&message), truth == 2, "{}", text);
        prop_assert_eq!(contrary.matches(&message), truth == 0, "NOT ({})", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}", message in message()) {
        check_any(&text, &message)?;
    }

    #[test]
    fn no_words_of_the_language_in_any_order_make_the_parser_panic(
        words in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..24),
        message in message(),
    ) {
        check_any(&words.join(" "), &message)?;
        check_any(&words.concat(), &message)?;
    }

    /// A good expression with characters changed, taken out or put in.
    #[test]
    fn no_damaged_expression_makes_the_parser_panic(
        tree in tree(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, any::<char>()), 1..4),
        message in message(),
    ) {
        let mut characters: Vec<char> = tree.written(0).chars().collect();
        for (at, what, character) in damage {
            let at = at.index(characters.len() + 1);
            match what {
                0 => characters.insert(at, character),
                1 if at < characters.len() => characters[at] = character,
                _ => drop(characters.drain(at..(at + 1).min(characters.len()))),
            }
        }
        check_any(&characters.into_iter().collect::<String>(), &message)?;
    }
}

const WORDS: [&str; 36] = [
    "a", "TAGS", "'x'", "'", "''", "5", "5.5", "5L", "1e5", "-", "+", "--", "/*", "*/", "(", ")", "((((",
    ",", "=", "<>", "<", ">=", "!", "AND", "OR", "NOT", "NULL", "IS", "IN", "BETWEEN", "LIKE", "ESCAPE",
    "CONTAINS", "TRUE", "\n", "ü",
];

/// An error points into the text, and an expression can be evaluated.
fn check_any(text: &str, message: &Message) -> Result<(), TestCaseError> {
    match Expression::parse(text) {
        Ok(expression) => drop(expression.matches(message)),
        Err(error) => {
            let characters = text.chars().count();
            prop_assert!((1..=characters + 1).contains(&error.column), "{text}: {error}");
        }
    }
    Ok(())
}
