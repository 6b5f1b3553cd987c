//! What the chart lets the operator do: rights that nobody uses in a test may be missing, those that are used may not.

use http::Method;

const CHART: &str = include_str!("../../../../charts/mainstay/templates/_helpers.tpl");

/// Whether a request to this path is allowed. The lease has a Role of its own, which is not looked at.
pub fn allow(method: &Method, path: &str, query: &str, collection: bool) -> bool {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    // api/v1/… or apis/GROUP/VERSION/…, then namespaces/NAME/… unless it is asked of all of them.
    let (group, rest) = if parts[0] == "api" { ("", &parts[2..]) } else { (parts[1], &parts[3..]) };
    let rest = if rest[0] == "namespaces" && rest.len() > 2 { &rest[2..] } else { rest };
    let resource = match rest {
        [resource, _, subresource] => format!("{resource}/{subresource}"),
        _ => rest[0].to_owned(),
    };
    let verb = match *method {
        Method::GET if query.contains("watch=") => "watch",
        Method::GET if collection => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return false,
    };
    group == "coordination.k8s.io" || granted(group, &resource, verb)
}

fn granted(group: &str, resource: &str, verb: &str) -> bool {
    let rules = CHART.split_once("mainstay.rules").map_or("", |(_, rules)| rules);
    let has = |rule: &str, key: &str, wanted: &str| {
        let list = rule.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_default();
        let list = list.trim().trim_start_matches('[').trim_end_matches(']');
        list.split(',').any(|entry| entry.trim().trim_matches('"') == wanted)
    };
    rules.split("- apiGroups:").skip(1).any(|rule| {
        let rule = format!("apiGroups:{rule}");
        has(&rule, "apiGroups:", group) && has(&rule, "resources:", resource) && has(&rule, "verbs:", verb)
    })
}
