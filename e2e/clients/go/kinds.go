package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

// kind of messages that a producer sends: what goes into the message, what the history tells, what follows a send.
type kind interface {
	// prepare makes the message one of this kind.
	prepare(message *rmq.Message, session string, number int) (fields, error)
	// send also returns what is still to be done once the message is acknowledged, if anything.
	send(ctx context.Context, message *rmq.Message, number int) ([]*rmq.SendReceipt, func(), error)
	// hasPlace tells whether an acknowledged message has its place in a queue.
	hasPlace() bool
}

// checker answers the broker's questions about transactions.
type checker interface {
	check(*rmq.MessageView) rmq.TransactionResolution
}

// plain is the kind without anything special, and what the others are made of.
type plain struct {
	arguments *arguments
	history   *history
	progress  *progress
	producer  rmq.Producer
}

func kindOf(base *plain) (kind, error) {
	switch name := base.arguments.kind; name {
	case "normal":
		return base, nil
	case "fifo":
		return &inGroups{base}, nil
	case "delay":
		return &delayed{base}, nil
	case "recall":
		return &recalled{delayed{base}}, nil
	case "transaction":
		return &transactional{base}, nil
	case "priority":
		return &prioritized{base}, nil
	default:
		return nil, fmt.Errorf("there is no --type %s", name)
	}
}

// idIn is the id in a body that one of our producers wrote, else empty.
func idIn(body []byte) string {
	head, _, found := bytes.Cut(body[:min(len(body), 256)], []byte("\n"))
	if !found {
		return ""
	}
	return string(head)
}

// numberIn is the number in an id, -1 where there is none.
func numberIn(id string) int {
	number, err := strconv.Atoi(id[strings.LastIndex(id, "-")+1:])
	if err != nil {
		return -1
	}
	return number
}

func (k *plain) prepare(*rmq.Message, string, int) (fields, error) {
	return nil, nil
}

func (k *plain) send(ctx context.Context, message *rmq.Message, _ int) ([]*rmq.SendReceipt, func(), error) {
	receipts, err := k.producer.Send(ctx, message)
	return receipts, nil, err
}

func (k *plain) hasPlace() bool {
	return true
}

// inGroups is FIFO: a session sends one after the other.
type inGroups struct{ *plain }

func (k *inGroups) prepare(message *rmq.Message, session string, _ int) (fields, error) {
	message.SetMessageGroup(session)
	return fields{"message_group": session}, nil
}

type prioritized struct{ *plain }

func (k *prioritized) prepare(message *rmq.Message, _ string, number int) (fields, error) {
	priority := int32(number % 10)
	return fields{"priority": priority}, message.SetPriority(priority)
}

type delayed struct{ *plain }

// prepare takes whole seconds, as every library knows them.
func (k *delayed) prepare(message *rmq.Message, _ string, _ int) (fields, error) {
	due := time.Unix(time.Now().Unix()+1+int64(k.arguments.delay), 0)
	message.SetDelayTimestamp(due)
	return fields{"deliver_at": due.UnixMilli()}, nil
}

func (k *delayed) hasPlace() bool {
	return false
}

// recalled takes every third message back at once.
type recalled struct{ delayed }

func (k *recalled) send(ctx context.Context, message *rmq.Message, number int) ([]*rmq.SendReceipt, func(), error) {
	receipts, err := k.producer.Send(ctx, message)
	if err != nil || number%3 != 0 {
		return receipts, nil, err
	}
	return receipts, func() {
		k.history.told("recall", fields{"id": idIn(message.Body)}, func() error {
			_, err := k.producer.Recall(context.Background(), message.Topic, receipts[0].RecallHandle)
			return err
		})
	}, nil
}

// transactional rolls every fourth message back; of the others every third is left to the broker's question.
type transactional struct{ *plain }

func (k *transactional) check(message *rmq.MessageView) rmq.TransactionResolution {
	id := idIn(message.GetBody())
	verdict := verdictOf(numberIn(id))
	call := k.history.invoke("decide", fields{"id": id, "verdict": verdict})
	if call == 0 {
		return rmq.UNKNOWN
	}
	k.history.complete("decide", call, "unknown", fields{"error": "the library answers the broker's question"})
	k.progress.add("asked", 1)
	if verdict == "commit" {
		return rmq.COMMIT
	}
	return rmq.ROLLBACK
}

func verdictOf(number int) string {
	if number%4 == 0 {
		return "rollback"
	}
	return "commit"
}

func (k *transactional) prepare(*rmq.Message, string, int) (fields, error) {
	return fields{"transaction": true}, nil
}

func (k *transactional) send(ctx context.Context, message *rmq.Message, number int) ([]*rmq.SendReceipt, func(), error) {
	transaction := k.producer.BeginTransaction()
	receipts, err := k.producer.SendWithTransaction(ctx, message, transaction)
	verdict := verdictOf(number)
	if err != nil || verdict == "commit" && number%3 == 0 {
		return receipts, nil, err
	}
	end := transaction.RollBack
	if verdict == "commit" {
		end = transaction.Commit
	}
	return receipts, func() {
		k.history.told("decide", fields{"id": idIn(message.Body), "verdict": verdict}, end)
	}, nil
}

func (k *transactional) hasPlace() bool {
	return false
}
