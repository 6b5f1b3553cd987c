//! Names of topics and consumer groups as clients write them. A namespace becomes a prefix, `namespace%name`.

use std::borrow::Cow;

use mainstay_messaging::{GroupName, TopicName};
use mainstay_proto::rocketmq::{Code, Resource};

use super::refusal::{Checked, Refusal};

/// The name with its namespace, unchecked; empty when there is none.
pub(crate) fn full_name(resource: Option<&Resource>) -> Cow<'_, str> {
    match resource {
        None => Cow::Borrowed(""),
        Some(Resource { resource_namespace, name }) if resource_namespace.is_empty() => Cow::Borrowed(name),
        Some(Resource { resource_namespace, name }) => Cow::Owned(format!("{resource_namespace}%{name}")),
    }
}

/// # Errors
/// `ILLEGAL_TOPIC`, naming what is wrong.
pub(crate) fn topic(resource: Option<&Resource>) -> Checked<TopicName> {
    TopicName::new(&full_name(resource)).map_err(|error| Refusal::new(Code::IllegalTopic, error.to_string()))
}

/// # Errors
/// `ILLEGAL_CONSUMER_GROUP`, naming what is wrong.
pub(crate) fn group(resource: Option<&Resource>) -> Checked<GroupName> {
    GroupName::new(&full_name(resource))
        .map_err(|error| Refusal::new(Code::IllegalConsumerGroup, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str) -> Resource {
        Resource { resource_namespace: String::new(), name: name.to_owned() }
    }

    #[test]
    fn illegal_names_get_the_code_of_their_field() {
        for name in ["", "  ", "dot.ted", "TBW102", "rmq_sys_wheel", &"t".repeat(128)] {
            let refusal = topic(Some(&resource(name))).unwrap_err();
            assert_eq!(refusal.code, Code::IllegalTopic);
            assert!(refusal.message.starts_with("topic "), "{refusal}");
        }
        for name in ["", "new\nline", "CID_RMQ_SYS_X", &"g".repeat(121)] {
            let refusal = group(Some(&resource(name))).unwrap_err();
            assert_eq!(refusal.code, Code::IllegalConsumerGroup);
            assert!(refusal.message.starts_with("consumer group "), "{refusal}");
        }
        assert_eq!(topic(None).unwrap_err().code, Code::IllegalTopic);
        assert_eq!(topic(Some(&resource(&"t".repeat(127)))).unwrap().as_str().len(), 127);
        assert_eq!(group(Some(&resource(&"g".repeat(120)))).unwrap().as_str().len(), 120);
    }

    #[test]
    fn a_namespace_is_a_prefix() {
        let namespaced = Resource { resource_namespace: "shop".to_owned(), name: "orders".to_owned() };
        assert_eq!(topic(Some(&namespaced)).unwrap().as_str(), "shop%orders");
    }
}
