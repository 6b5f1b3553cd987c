package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

const ackTries = 3

// receiving receives and acknowledges, and writes down everything that came and how each call ended.
type receiving struct {
	arguments *arguments
	history   *history
	progress  *progress
	stop      context.Context

	mutex       sync.Mutex
	ids         map[string]bool
	began       time.Time
	lastMessage time.Time
}

func consume(stop context.Context, a *arguments) (client, error) {
	history, err := newHistory(a, "consumer")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	r := &receiving{arguments: a, history: history, stop: stop, ids: map[string]bool{}, began: now, lastMessage: now}
	if err := history.start(r.told()); err != nil {
		return nil, err
	}
	counters := []string{"received", "deliveries", "acknowledged", "receive_errors", "ack_errors"}
	r.progress = newProgress(a.progress, history.client, counters...)
	consumer, err := r.consumer()
	if err != nil {
		return nil, err
	}
	r.postpone()
	reason := r.reason()
	for ; reason == ""; reason = r.reason() {
		select {
		case <-stop.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	// Acknowledgements under way; a receive that waits for messages may take longer: nobody saw it end.
	time.Sleep(time.Second)
	history.end(reason, r.progress.all())
	r.progress.finish()
	return consumer, nil
}

func (r *receiving) told() fields {
	a := r.arguments
	told := fields{"topic": a.topic, "group": a.group, "filter": a.filter, "kind": "simple", "order": a.order}
	if a.wants != "" {
		told["filter"] = a.wants
	}
	if a.sql {
		told["sql"] = a.filter
	}
	if a.push {
		told["kind"] = "push"
	}
	if a.maxAttempts > 0 {
		told["max_attempts"] = a.maxAttempts
	}
	return told
}

func (r *receiving) consumer() (client, error) {
	if r.arguments.push {
		return newPushConsumer(r.arguments, r.listen)
	}
	consumer, err := newSimpleConsumer(r.arguments)
	if err != nil {
		return nil, err
	}
	r.postpone()
	for number := range r.arguments.inFlight {
		go r.session(consumer, fmt.Sprintf("r%d", number))
	}
	return consumer, nil
}

// listen is given messages by the library, which acknowledges by itself and does not tell how that ended.
func (r *receiving) listen(message *rmq.MessageView) rmq.ConsumerResult {
	described := describe(message)
	r.history.message(described)
	r.note(described)
	if r.isGivenBack(described) {
		return rmq.FAILURE
	}
	call := r.history.invoke("ack", which(described))
	if call == 0 {
		return rmq.FAILURE
	}
	r.history.complete("ack", call, "unknown", fields{"error": "the library acknowledges"})
	r.progress.add("acknowledged", 1)
	return rmq.SUCCESS
}

func (r *receiving) session(consumer rmq.SimpleConsumer, session string) {
	for r.reason() == "" {
		messages, described := r.receive(consumer, session)
		for number, message := range messages {
			if r.isGivenBack(described[number]) {
				r.giveBack(consumer, session, message, described[number])
			} else {
				r.acknowledge(consumer, session, message, described[number])
			}
			r.postpone()
		}
		if len(messages) > 0 {
			time.Sleep(r.arguments.rest)
		}
	}
}

func (r *receiving) receive(consumer rmq.SimpleConsumer, session string) ([]*rmq.MessageView, []fields) {
	call := r.history.invoke("receive", fields{"session": session})
	messages, err := receive(consumer, int32(r.arguments.batch), r.arguments.invisible)
	if err != nil {
		r.history.failed("receive", call, err)
		r.progress.add("receive_errors", 1)
		r.postpone()
		time.Sleep(pauseAfterFailure)
		return nil, nil
	}
	var described []fields
	for _, message := range messages {
		one := describe(message)
		away := r.arguments.invisible
		if r.isGivenBack(one) {
			away = r.arguments.giveBack
		}
		one["invisible_ms"] = away.Milliseconds()
		described = append(described, one)
	}
	r.history.complete("receive", call, "ok", fields{"count": len(messages)}, described...)
	r.note(described...)
	return messages, described
}

func (r *receiving) giveBack(consumer rmq.SimpleConsumer, session string, message *rmq.MessageView, described fields) {
	told := which(described)
	told["session"] = session
	told["invisible_ms"] = r.arguments.giveBack.Milliseconds()
	// Otherwise it comes again when its time is over.
	r.history.told("change", told, func() error {
		return consumer.ChangeInvisibleDuration(message, r.arguments.giveBack)
	})
}

func (r *receiving) acknowledge(consumer rmq.SimpleConsumer, session string, message *rmq.MessageView, described fields) {
	told := which(described)
	told["session"] = session
	for range ackTries {
		call := r.history.invoke("ack", told)
		err := acknowledge(consumer, message)
		if err == nil {
			r.history.complete("ack", call, "ok", nil)
			r.progress.add("acknowledged", 1)
			return
		}
		r.progress.add("ack_errors", 1)
		if r.history.failed("ack", call, err) == "fail" {
			return
		}
		time.Sleep(pauseAfterFailure)
	}
}

// describe is what the history tells of a message that came. Whether the library found it corrupted it does not say.
func describe(message *rmq.MessageView) fields {
	described := fields{
		"id":         idIn(message.GetBody()),
		"checksum":   checksum(message.GetBody()),
		"message_id": message.GetMessageId(),
		"queue":      takeQueue(message),
		"offset":     message.GetOffset(),
		"attempt":    message.GetDeliveryAttempt(),
	}
	if tag := message.GetTag(); tag != nil {
		described["tag"] = *tag
	}
	if group := message.GetMessageGroup(); group != nil {
		described["message_group"] = *group
	}
	if due := message.GetDeliveryTimestamp(); due != nil {
		described["deliver_at"] = due.UnixMilli()
	}
	return described
}

// which names a delivery.
func which(described fields) fields {
	told := fields{}
	for _, name := range []string{"id", "message_id", "queue", "offset", "attempt"} {
		told[name] = described[name]
	}
	return told
}

// isGivenBack: some messages are to come again.
func (r *receiving) isGivenBack(described fields) bool {
	number := numberIn(described["id"].(string))
	early := described["attempt"].(int32) <= int32(r.arguments.giveBackTimes)
	return r.arguments.giveBack > 0 && early && number >= 0 && number%5 == 0
}

func (r *receiving) note(described ...fields) {
	if len(described) == 0 {
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, one := range described {
		if id := one["id"].(string); id != "" {
			r.ids[id] = true
		}
	}
	r.lastMessage = time.Now()
	r.progress.raise("received", len(r.ids))
	r.progress.add("deliveries", len(described))
}

// postpone: a library that is starting, a session that is busy, a broker that cannot be asked: no sign that there is no
// more.
func (r *receiving) postpone() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.lastMessage = time.Now()
}

// reason why enough has been received, or empty.
func (r *receiving) reason() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	a := r.arguments
	patience := a.untilIdle
	if len(r.ids) == 0 {
		patience = max(patience, a.firstWithin)
	}
	switch {
	case r.stop.Err() != nil:
		return "signal"
	case a.count > 0 && len(r.ids) >= a.count:
		return "count"
	case a.duration > 0 && time.Since(r.began) >= a.duration:
		return "duration"
	case a.untilIdle > 0 && time.Since(r.lastMessage) >= patience:
		return "idle"
	default:
		return ""
	}
}
