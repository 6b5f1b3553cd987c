package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

// A machine at work on many things may be late by so much; never early.
const late = 3 * time.Second

// inSeconds is a whole second, which every library knows.
func inSeconds(seconds int64) time.Time {
	return time.Unix(time.Now().Unix()+1+seconds, 0)
}

func (s *stage) sendAt(producer rmq.Producer, body string, moment time.Time) (*rmq.SendReceipt, error) {
	message := s.message(body)
	message.SetDelayTimestamp(moment)
	return s.send(producer, message)
}

// delay: not a millisecond early, and not much too late.
func delay(s *stage) (facts, error) {
	consumer, err := s.consumer(rmq.SUB_ALL)
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(nil)
	if err != nil {
		return nil, err
	}
	due := map[string]time.Time{}
	for _, number := range []int64{3, 1, 2} {
		body := fmt.Sprintf("delay-%d", number)
		due[body] = inSeconds(number)
		if _, err := s.sendAt(producer, body, due[body]); err != nil {
			return nil, err
		}
	}
	came := map[string]bool{}
	var latest time.Duration
	for len(came) < len(due) {
		messages, err := s.receive(consumer, 32, func() string { return fmt.Sprintf("more than %v", keys(came)) })
		if err != nil {
			return nil, err
		}
		for _, message := range messages {
			body := string(message.GetBody())
			after := time.Since(due[body])
			if after < 0 || after > late {
				return nil, fmt.Errorf("%s came %v after its time", body, after)
			}
			told := message.GetDeliveryTimestamp()
			if told == nil || !told.Equal(due[body]) {
				return nil, fmt.Errorf("delivery time of %s is %v instead of %v", body, told, due[body])
			}
			came[body] = true
			latest = max(latest, after)
			if err := consumer.Ack(context.Background(), message); err != nil {
				return nil, err
			}
		}
	}
	return facts{"late_ms": latest.Milliseconds()}, nil
}

// recall: what was recalled never comes; what has come cannot be recalled.
func recall(s *stage) (facts, error) {
	consumer, err := s.consumer(rmq.SUB_ALL)
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(nil)
	if err != nil {
		return nil, err
	}
	takenBack, err := s.sendAt(producer, "recalled", inSeconds(2))
	if err != nil {
		return nil, err
	}
	kept, err := s.sendAt(producer, "kept", inSeconds(3))
	if err != nil {
		return nil, err
	}
	recalled, err := producer.Recall(context.Background(), s.topic, takenBack.RecallHandle)
	if err != nil {
		return nil, err
	}
	if err := expect("message id of the recalled message", recalled, takenBack.MessageID); err != nil {
		return nil, err
	}
	if _, err := s.collect(consumer, "kept"); err != nil {
		return nil, err
	}
	// Which code it is differs.
	if _, err := producer.Recall(context.Background(), s.topic, kept.RecallHandle); err == nil {
		return nil, errors.New("a message that was delivered could be recalled")
	}
	return nil, nil
}
