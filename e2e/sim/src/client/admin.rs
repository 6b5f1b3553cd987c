//! Creates topics and consumer groups, and makes sure again and again that they are there: a forced promotion may have
//! cut off their creation.

use mainstay_messaging::{Command, CreateTopic, QueueCount, TopicKind};

use super::groups::Group;
use super::{Input, Line, PAUSE, Scene, topic, topic_name};
use crate::time::SECOND;
use crate::wire::Reply;

/// Pause between two rounds.
const AGAIN: u64 = 3 * SECOND;

#[derive(Debug)]
pub(crate) struct Admin {
    line: Line,
    commands: Vec<Command>,
    at: usize,
    pub(crate) stopped: bool,
}

impl Admin {
    /// Topics of these kinds, with different numbers of queues, and the consumer groups.
    pub(crate) fn new(topics: &[TopicKind], groups: &[Group]) -> Self {
        let topics = topics.iter().enumerate().map(|(number, kind)| {
            let (name, queues) = (topic(&topic_name(number)), Self::queues(number));
            Command::CreateTopic(CreateTopic { name, kind: *kind, queues })
        });
        let groups = groups.iter().map(|group| Command::CreateGroup(group.command()));
        Self { line: Line::default(), commands: topics.chain(groups).collect(), at: 0, stopped: false }
    }

    /// Queues of a topic.
    pub(crate) fn queues(topic: usize) -> QueueCount {
        QueueCount::new(1 + 2 * topic as u32).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn take(&mut self, input: Input, scene: &mut Scene<'_>) {
        if matches!(input, Input::Wake) {
            if self.line.open.is_none() && !self.stopped {
                let command = self.commands[self.at].clone();
                self.line.ask(command, 0, scene);
            }
            return;
        }
        let Some(reply) = self.line.answer(input, scene) else { return };
        let mut pause = PAUSE;
        if matches!(reply, Some(Reply::Done(_))) {
            self.at = (self.at + 1) % self.commands.len();
            pause = if self.at == 0 { AGAIN } else { 0 };
        }
        scene.effects.push(super::Effect::Wake { after: pause });
    }
}
