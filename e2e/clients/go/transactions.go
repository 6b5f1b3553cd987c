package main

import (
	"context"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

func undecided(*rmq.MessageView) rmq.TransactionResolution {
	return rmq.UNKNOWN
}

// half sends a message that waits for a decision.
func (s *stage) half(producer rmq.Producer, body string) (rmq.Transaction, string, error) {
	transaction := producer.BeginTransaction()
	receipts, err := producer.SendWithTransaction(context.Background(), s.message(body), transaction)
	if err != nil {
		return nil, "", err
	}
	return transaction, receipts[0].MessageID, nil
}

// commit: nobody sees the message before it is committed; then it comes, under its own id.
func commit(s *stage) (facts, error) {
	consumer, err := s.consumer(rmq.SUB_ALL)
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(undecided)
	if err != nil {
		return nil, err
	}
	waiting, id, err := s.half(producer, "waits")
	if err != nil {
		return nil, err
	}
	other, _, err := s.half(producer, "committed at once")
	if err != nil {
		return nil, err
	}
	if err := other.Commit(); err != nil {
		return nil, err
	}
	if _, err := s.collect(consumer, "committed at once"); err != nil {
		return nil, err
	}
	if err := waiting.Commit(); err != nil {
		return nil, err
	}
	messages, err := s.collect(consumer, "waits")
	if err != nil {
		return nil, err
	}
	return nil, expect("message id", messages["waits"].GetMessageId(), id)
}

// rollback: what was rolled back never comes.
func rollback(s *stage) (facts, error) {
	consumer, err := s.consumer(rmq.SUB_ALL)
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(undecided)
	if err != nil {
		return nil, err
	}
	dropped, _, err := s.half(producer, "rolled back")
	if err != nil {
		return nil, err
	}
	if err := dropped.RollBack(); err != nil {
		return nil, err
	}
	kept, _, err := s.half(producer, "committed")
	if err != nil {
		return nil, err
	}
	if err := kept.Commit(); err != nil {
		return nil, err
	}
	_, err = s.collect(consumer, "committed")
	return nil, err
}

// checkBack: a producer that does not decide is asked, and its answer counts.
func checkBack(s *stage) (facts, error) {
	asked := map[string]int{}
	check := func(message *rmq.MessageView) rmq.TransactionResolution {
		body := string(message.GetBody())
		s.locked(func() { asked[body]++ })
		if body == "to commit" {
			return rmq.COMMIT
		}
		return rmq.ROLLBACK
	}
	consumer, err := s.consumer(rmq.SUB_ALL)
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(check)
	if err != nil {
		return nil, err
	}
	for _, body := range []string{"to roll back", "to commit"} {
		if _, _, err := s.half(producer, body); err != nil {
			return nil, err
		}
	}
	what := func() string { return "the broker to ask about both" }
	if err := s.wait(what, func() bool { return len(asked) == 2 }); err != nil {
		return nil, err
	}
	_, err = s.collect(consumer, "to commit")
	return nil, err
}
