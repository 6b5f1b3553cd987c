//! Waiting for the answer of a long poll. Deliveries that arrive when nobody waits any more are given back.

use mainstay_messaging::{Delivery, GroupName, Receive, TopicName};
use tokio::sync::oneshot;

use super::error::{ProposeError, ReceiveError};
use super::handle::GroupHandle;

type Answer = Result<Vec<Delivery>, ReceiveError>;

pub(super) struct Receiving<'a> {
    handle: &'a GroupHandle,
    group: GroupName,
    topic: TopicName,
    answer: oneshot::Receiver<Answer>,
    answered: bool,
}

impl<'a> Receiving<'a> {
    pub(super) fn new(handle: &'a GroupHandle, receive: &Receive, answer: oneshot::Receiver<Answer>) -> Self {
        let (group, topic) = (receive.group.clone(), receive.topic.clone());
        Self { handle, group, topic, answer, answered: false }
    }

    pub(super) async fn answer(mut self) -> Answer {
        let answer = (&mut self.answer).await;
        self.answered = true;
        answer.unwrap_or(Err(ReceiveError::Propose(ProposeError::ShuttingDown)))
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // From here on the driver cannot send any more, and gives back by itself.
        self.answer.close();
        if let Ok(Ok(deliveries)) = self.answer.try_recv()
            && !deliveries.is_empty()
        {
            let handles = deliveries.iter().map(|delivery| delivery.handle).collect();
            self.handle.give_back(self.group.clone(), self.topic.clone(), handles);
        }
    }
}
