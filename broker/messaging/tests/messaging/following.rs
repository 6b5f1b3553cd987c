//! Following the metadata by its changes comes to the same as taking over the whole of it.

use mainstay_messaging::{
    ChangeUser, Command, CreateTopic, CreateUser, DeleteGroup, DeleteTopic, DeleteUser, Elapse, MessageKind,
    Metadata, MetadataChanges, Outcome, Publish, QueueCount, Receive, Refusal, Rights, StartPosition,
    SyncMetadata, TopicKind, UserName, UserSecret,
};
use mainstay_record::Timestamp;

use crate::log::{Log, create_group, group, message, receive, topic};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.roll(NAMES.len() as u64) as usize]
    }
}

/// A change of the metadata, or what would be one if its name was there, or was not.
fn definition(dice: &mut Dice) -> Command {
    let (what, name) = (dice.roll(7), dice.name());
    let user = UserName::new(name).unwrap();
    match what {
        0 => {
            let queues = QueueCount::new(2 + dice.roll(3) as u32).unwrap();
            let kind = if dice.roll(2) == 0 { TopicKind::Normal } else { TopicKind::Delay };
            Command::CreateTopic(CreateTopic { name: topic(name), kind, queues })
        }
        1 => Command::DeleteTopic(DeleteTopic { name: topic(name) }),
        2 => create_group(name, StartPosition::Earliest),
        3 => Command::DeleteGroup(DeleteGroup { name: group(name), with_dead_letters: true }),
        4 => {
            let secret = UserSecret::new("first-secret").unwrap();
            Command::CreateUser(CreateUser { name: user, secret, rights: Rights::Admin })
        }
        5 => {
            let secret = UserSecret::new(&format!("secret-{}", dice.roll(100))).unwrap();
            Command::ChangeUser(ChangeUser { name: user, secret: Some(secret), rights: None })
        }
        _ => Command::DeleteUser(DeleteUser { name: user }),
    }
}

fn traffic(dice: &mut Dice, n: u32) -> Command {
    let (one, other) = (dice.name(), dice.name());
    let publish = |kind| {
        Command::Publish(Publish {
            topic: topic(one),
            kind,
            message_id: format!("{one}-{n}"),
            ..message(0, Some(other))
        })
    };
    match dice.roll(4) {
        0 => publish(MessageKind::Normal),
        1 => publish(MessageKind::Delay { deliver_at: Timestamp(u64::from(n) * 10) }),
        2 => Command::Elapse(Elapse { max: 100 }),
        _ => Command::Receive(Receive { topic: topic(one), group: group(other), ..receive(1) }),
    }
}

fn whole(metadata: Metadata) -> Command {
    Command::SyncMetadata(SyncMetadata { metadata })
}

fn changes(old: &Metadata, new: &Metadata) -> Command {
    Command::ChangeMetadata(MetadataChanges::between(old, new))
}

#[test]
fn changes_come_to_the_same_as_the_whole_whatever_they_skip() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let mut first = Log::empty(0, 2);
        let (mut by_whole, mut by_changes) = (Log::empty(1, 2), Log::empty(1, 2));
        for round in 0..40 {
            let before = first.state.clone();
            let old = by_changes.state.metadata();
            let (mut made, enough) = (0, 1 + dice.roll(4));
            while made < enough || first.state.metadata().version <= old.version {
                first.apply(definition(&mut dice));
                first.wait(1);
                made += 1;
            }
            let new = first.state.metadata();
            let expected = by_whole.apply(whole(new.clone()));
            assert_eq!(by_changes.apply(changes(&old, &new)), expected);
            for n in 0..4 {
                by_whole.wait(5);
                by_changes.wait(5);
                let command = traffic(&mut dice, 4 * round + n);
                assert_eq!(by_changes.apply(command.clone()), by_whole.apply(command));
            }
            assert_eq!(by_changes.state.metadata(), new);
            assert_eq!(by_changes.state, by_whole.state);
            // The metadata group loses what others have followed, and gives its versions to something else.
            if dice.roll(3) == 0 {
                first.state = before;
            }
        }
        by_changes.assert_replays(1, 2);
    }
}

#[test]
fn changes_from_another_version_do_nothing() {
    let mut first = Log::with_queues(2);
    let versions: Vec<Metadata> = NAMES
        .iter()
        .map(|name| {
            first.apply(create_group(name, StartPosition::Latest));
            first.state.metadata()
        })
        .collect();
    let mut second = Log::empty(1, 2);
    assert_eq!(second.apply(changes(&versions[0], &versions[1])), Outcome::Synced { applied: false });
    assert_eq!(second.state.metadata(), Metadata::default());
    let from_nothing = changes(&Metadata::default(), &versions[1]);
    assert_eq!(second.apply(from_nothing.clone()), Outcome::Synced { applied: true });
    for stale in [from_nothing, changes(&versions[0], &versions[2]), changes(&versions[1], &versions[1])] {
        assert_eq!(second.apply(stale), Outcome::Synced { applied: false });
        assert_eq!(second.state.metadata(), versions[1]);
    }
    assert_eq!(second.apply(changes(&versions[1], &versions[3])), Outcome::Synced { applied: true });
    assert_eq!(second.state.metadata(), versions[3]);
    let refused = first.apply(changes(&versions[0], &versions[3]));
    assert_eq!(refused, Outcome::Refused(Refusal::IsMetadataGroup));
}

#[test]
fn a_change_costs_what_changed_and_not_what_there_is() {
    let mut first = Log::empty(0, 2);
    for n in 0..1000 {
        first.apply(create_group(&format!("group-{n}"), StartPosition::Latest));
    }
    let old = first.state.metadata();
    first.apply(create_group("one-more", StartPosition::Latest));
    let length = |command: &Command| {
        let mut bytes = bytes::BytesMut::new();
        command.encode(&mut bytes);
        assert!(bytes.len() <= command.encoded_len_hint(), "{} bytes", bytes.len());
        bytes.len()
    };
    let (one, all) = (changes(&old, &first.state.metadata()), whole(first.state.metadata()));
    assert!(length(&one) < 200 && length(&all) > 1000 * 40, "{} of {}", length(&one), length(&all));
}
