//! Files that people and programs write: a broker's configuration, and the histories that the checker judges.

use mainstay_broker::config::Config;
use mainstay_checker::{History, check};

pub(super) fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Config::parse(&text, Some("a-0".to_owned())) {
        Ok(config) => {
            let own = config.own_group();
            assert!(own.members.iter().any(|member| member.name == config.member));
            assert_eq!(config.broker_group(config.group).map(|group| group.id), Some(config.group));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

pub(super) fn configuration_seeds() -> Vec<Vec<u8>> {
    // No file of this machine is to be read.
    let documented: Vec<&str> =
        include_str!("../../../../docs/broker.toml").lines().filter(|line| !line.contains("_file")).collect();
    let short = "cluster = \"a\"\ngroup = 0\ndata = \"/d\"\n[replication]\nmode = \"none\"\n\
                 [[groups]]\nid = 0\naddress = \"h:1\"\nmembers = [{name = \"a-0\", address = \"h:2\"}]\n";
    let settings: Vec<&str> = documented.iter().filter(|line| !line.starts_with('#')).copied().collect();
    vec![short.into(), settings.join("\n").into(), documented.join("\n").replace("# [", "[").into()]
}

/// Some histories, with a line of dashes between them: each is read, and all that could be are judged together.
pub(super) fn histories(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut histories = Vec::new();
    for (at, text) in text.split("----\n").enumerate() {
        match History::parse(&format!("history {at}"), text) {
            Ok(history) => histories.push(history),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let _ = check(&histories).to_string();
}

pub(super) fn histories_seeds() -> Vec<Vec<u8>> {
    let producer = r#"{"event":"start","client":"p","boot":"b","topic":"t"}
{"event":"invoke","op":"send","ts":10,"call":1,"id":"m1","checksum":"c1","tag":"a"}
{"event":"complete","op":"send","ts":20,"call":1,"outcome":"ok","message_id":"M1","offset":0,"tries":1}
{"event":"invoke","op":"send","ts":21,"call":2,"id":"m2","checksum":"c2","message_group":"g"}
{"event":"complete","op":"send","ts":25,"call":2,"outcome":"unknown","error":"gone"}
{"event":"invoke","op":"send","ts":26,"wall":1000,"call":3,"id":"m3","checksum":"c3","deliver_at":1500}
{"event":"complete","op":"send","ts":27,"call":3,"outcome":"ok","message_id":"M3"}
{"event":"invoke","op":"recall","ts":28,"call":1,"id":"m3"}
{"event":"complete","op":"recall","ts":29,"call":1,"outcome":"ok"}
{"event":"invoke","op":"send","ts":30,"call":4,"id":"m4","checksum":"c4","transaction":true}
{"event":"complete","op":"send","ts":31,"call":4,"outcome":"ok","message_id":"M4"}
{"event":"invoke","op":"decide","ts":32,"call":1,"id":"m4","verdict":"commit"}
{"event":"complete","op":"decide","ts":33,"call":1,"outcome":"ok"}
{"event":"end","ts":40,"reason":"count"}
"#;
    let consumer = r#"{"event":"start","client":"c","boot":"b","topic":"t","group":"g","filter":"a || b","order":"fifo","max_attempts":3}
{"event":"invoke","op":"receive","ts":50,"call":1}
{"event":"message","ts":51,"call":1,"id":"m1","checksum":"c1","message_id":"M1","queue":"q0","offset":0,"attempt":1,"invisible_ms":100}
{"event":"complete","op":"receive","ts":52,"call":1,"outcome":"ok"}
{"event":"invoke","op":"change","ts":53,"call":1,"id":"m1","queue":"q0","offset":0,"attempt":1,"invisible_ms":5}
{"event":"complete","op":"change","ts":54,"call":1,"outcome":"ok"}
{"event":"message","ts":60,"id":"m1","checksum":"c1","message_id":"M1","queue":"q0","offset":0,"attempt":2}
{"event":"invoke","op":"ack","ts":61,"call":1,"id":"m1","queue":"q0","offset":0,"attempt":2}
{"event":"complete","op":"ack","ts":62,"call":1,"outcome":"ok"}
{"event":"invoke","op":"forward","ts":63,"call":1,"id":"m2","queue":"q0","offset":1,"attempt":1}
{"event":"complete","op":"forward","ts":64,"call":1,"outcome":"fail","error":"x"}
{"event":"end","ts":99000000000,"reason":"idle"}
"#;
    let letters = consumer
        .replace("\"topic\":\"t\"", "\"topic\":\"%DLQ%g\"")
        .replace("\"group\":\"g\"", "\"group\":\"h\"");
    for text in [producer, consumer, &letters] {
        assert!(History::parse("seed", text).is_ok());
    }
    vec![
        producer.into(),
        [producer, consumer].join("----\n").into(),
        [producer, consumer, &letters].join("----\n").into(),
    ]
}
