//! Creates topics and consumer groups, and makes sure again and again that they are there: a forced promotion may have
//! cut off their creation.

use mainstay_messaging::{
    Command, CreateGroup, CreateTopic, DeliveryOrder, QueueCount, RetryPolicy, StartPosition, TopicKind,
};

use super::{Input, Line, PAUSE, Scene, group, topic, topic_name};
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
    /// `topics` topics with different numbers of queues, and the consumer groups.
    pub(crate) fn new(topics: usize, groups: &[String]) -> Self {
        let queues = |topic: usize| QueueCount::new(1 + 2 * topic as u32).unwrap_or_else(|e| panic!("{e}"));
        let topics = (0..topics).map(|number| {
            let (name, queues) = (topic(&topic_name(number)), queues(number));
            Command::CreateTopic(CreateTopic { name, kind: TopicKind::Normal, queues })
        });
        let groups = groups.iter().map(|name| {
            let (name, start) = (group(name), StartPosition::Earliest);
            Command::CreateGroup(CreateGroup {
                name,
                start,
                order: DeliveryOrder::Concurrent,
                max_attempts: 17,
                retry: RetryPolicy::default(),
            })
        });
        Self { line: Line::default(), commands: topics.chain(groups).collect(), at: 0, stopped: false }
    }

    /// Queues of a topic.
    pub(crate) fn queues(topic: usize) -> u32 {
        1 + 2 * topic as u32
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
