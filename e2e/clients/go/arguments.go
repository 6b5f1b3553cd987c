package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"
)

// arguments are those of one command line; README.md beside the launcher describes them.
type arguments struct {
	command         string
	endpoints       string
	topic           string
	group           string
	name            string
	tls             bool
	startTimeout    time.Duration
	accessEndpoints string
	accessKey       string
	secretKey       string
	names           []string

	history  string
	progress time.Duration
	count    int
	inFlight int

	rate  float64
	size  int
	kind  string
	delay int

	push          bool
	untilIdle     time.Duration
	firstWithin   time.Duration
	duration      time.Duration
	invisible     time.Duration
	batch         int
	wait          time.Duration
	filter        string
	sql           bool
	wants         string
	order         string
	maxAttempts   int
	rest          time.Duration
	giveBack      time.Duration
	giveBackTimes int
}

// parts are several command lines with + between them, which are run at once.
func parts(words []string) ([]*arguments, error) {
	lines := [][]string{nil}
	for _, word := range words {
		if word == "+" {
			lines = append(lines, nil)
		} else {
			lines[len(lines)-1] = append(lines[len(lines)-1], word)
		}
	}
	var parsed []*arguments
	for _, line := range lines {
		one, err := parse(line)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, one)
	}
	return parsed, nil
}

// parse reads options before and behind the command.
func parse(words []string) (*arguments, error) {
	parsed := &arguments{}
	options := parsed.options()
	// Names and options in any order.
	for first := true; first || options.NArg() > 0; first = false {
		if !first {
			if parsed.command == "" {
				parsed.command = options.Arg(0)
			} else {
				parsed.names = append(parsed.names, options.Arg(0))
			}
			words = options.Args()[1:]
		}
		if err := options.Parse(words); err != nil {
			return nil, err
		}
	}
	return parsed, parsed.check()
}

func (a *arguments) options() *flag.FlagSet {
	options := flag.NewFlagSet("clients/run go", flag.ContinueOnError)
	options.SetOutput(io.Discard)
	seconds := func(to *time.Duration, name string, otherwise float64) {
		*to = time.Duration(otherwise * float64(time.Second))
		options.Func(name, "seconds", func(text string) error {
			parsed, err := time.ParseDuration(text + "s")
			*to = parsed
			return err
		})
	}
	options.StringVar(&a.endpoints, "endpoints", "", "host:port")
	options.StringVar(&a.topic, "topic", "", "for scenarios the begin of the names of topics and groups")
	options.StringVar(&a.group, "group", "", "consumer group")
	options.StringVar(&a.name, "name", "", "of this client in histories; must be unique")
	options.BoolVar(&a.tls, "tls", false, "")
	seconds(&a.startTimeout, "start-timeout", 30)
	options.StringVar(&a.accessEndpoints, "access-endpoints", "", "of a broker with access control")
	options.StringVar(&a.accessKey, "access-key", "", "")
	options.StringVar(&a.secretKey, "secret-key", "", "")
	options.StringVar(&a.history, "history", "", "file")
	seconds(&a.progress, "progress", 1)
	options.IntVar(&a.count, "count", 0, "")
	options.IntVar(&a.inFlight, "in-flight", 8, "")
	options.Float64Var(&a.rate, "rate", 0, "messages per second")
	options.IntVar(&a.size, "size", 256, "bytes of a body")
	options.StringVar(&a.kind, "type", "normal", "")
	options.IntVar(&a.delay, "delay", 2, "seconds")
	options.Func("kind", "simple or push", func(text string) error {
		a.push = text == "push"
		if !a.push && text != "simple" {
			return errors.New("there are simple and push")
		}
		return nil
	})
	seconds(&a.untilIdle, "until-idle", 0)
	seconds(&a.firstWithin, "first-within", 0)
	seconds(&a.duration, "duration", 0)
	seconds(&a.invisible, "invisible", 30)
	options.IntVar(&a.batch, "batch", 32, "")
	seconds(&a.wait, "wait", 5)
	options.StringVar(&a.filter, "filter", "*", "expression")
	options.BoolVar(&a.sql, "sql", false, "")
	options.StringVar(&a.wants, "wants", "", "tags")
	options.StringVar(&a.order, "order", "", "of the consumer group")
	options.IntVar(&a.maxAttempts, "max-attempts", 0, "of the consumer group")
	seconds(&a.rest, "rest", 0)
	seconds(&a.giveBack, "give-back", 0)
	options.IntVar(&a.giveBackTimes, "give-back-times", 1, "")
	return options
}

func (a *arguments) check() error {
	if a.endpoints == "" || a.topic == "" {
		return errors.New("--endpoints and --topic are needed")
	}
	switch a.command {
	case "scenario":
		if len(a.names) == 0 {
			return errors.New("scenario takes names")
		}
		return nil
	case "produce", "consume":
		if a.history == "" || len(a.names) > 0 {
			return fmt.Errorf("%s needs --history and takes no names", a.command)
		}
		if a.command == "consume" && a.group == "" {
			return errors.New("consume needs --group")
		}
		return nil
	default:
		return errors.New("there is to be one command of produce, consume, scenario")
	}
}
