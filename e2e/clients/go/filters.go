package main

import (
	"context"
	"fmt"
	"strings"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// tag: one of several tags, and nothing else.
func tag(s *stage) (facts, error) {
	consumer, err := s.consumer(rmq.NewFilterExpression("red || blue"))
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(nil)
	if err != nil {
		return nil, err
	}
	var wanted []string
	for number := range 4 {
		for _, colour := range []string{"green", "", "red", "blue"} {
			body := fmt.Sprintf("%s-%d", colour, number)
			message := s.message(body)
			if colour != "" {
				message.SetTag(colour)
			}
			if colour == "red" || colour == "blue" {
				wanted = append(wanted, body)
			}
			if _, err := s.send(producer, message); err != nil {
				return nil, err
			}
		}
	}
	messages, err := s.collect(consumer, wanted...)
	if err != nil {
		return nil, err
	}
	for body, message := range messages {
		colour, _, _ := strings.Cut(body, "-")
		if err := expect("tag of "+body, *message.GetTag(), colour); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// sql: properties as numbers and texts, tags, absent properties; an expression that makes no sense is refused.
func sql(s *stage) (facts, error) {
	expression := "price > 10 AND region IN ('north', 'south') AND (TAGS = 'red' OR owner IS NULL)"
	consumer, err := s.consumer(rmq.NewFilterExpressionWithType(expression, rmq.SQL92))
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(nil)
	if err != nil {
		return nil, err
	}
	for _, one := range []struct {
		body, tag  string
		properties map[string]string
	}{
		{"yes-1", "red", map[string]string{"price": "10.5", "region": "north", "owner": "a"}},
		{"yes-2", "blue", map[string]string{"price": "100", "region": "south"}},
		{"no-cheap", "red", map[string]string{"price": "9", "region": "north"}},
		{"no-region", "red", map[string]string{"price": "11", "region": "east"}},
		{"no-owner", "blue", map[string]string{"price": "11", "region": "north", "owner": "a"}},
		{"no-price", "red", map[string]string{"region": "north"}},
		{"yes-3", "red", map[string]string{"price": "11", "region": "south"}},
	} {
		message := s.message(one.body)
		message.SetTag(one.tag)
		for name, value := range one.properties {
			message.AddProperty(name, value)
		}
		if _, err := s.send(producer, message); err != nil {
			return nil, err
		}
	}
	if _, err := s.collect(consumer, "yes-1", "yes-2", "yes-3"); err != nil {
		return nil, err
	}
	senseless, err := s.consumer(rmq.NewFilterExpressionWithType("price >", rmq.SQL92))
	if err == nil {
		_, err = senseless.Receive(context.Background(), 1, invisible)
	}
	return nil, refused("an expression that makes no sense", v2.Code_ILLEGAL_FILTER_EXPRESSION, err)
}
