// The test client on the official Go library.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

// arguments are those of the command line; README.md beside the launcher describes them.
type arguments struct {
	endpoints       string
	topic           string
	tls             bool
	startTimeout    time.Duration
	accessEndpoints string
	accessKey       string
	secretKey       string
	names           []string
}

// parse reads options before and behind the command.
func parse(words []string) (*arguments, error) {
	parsed := &arguments{}
	var seconds float64
	options := flag.NewFlagSet("clients/run go", flag.ContinueOnError)
	options.SetOutput(io.Discard)
	options.StringVar(&parsed.endpoints, "endpoints", "", "host:port")
	options.StringVar(&parsed.topic, "topic", "", "begin of the names of topics and groups")
	options.BoolVar(&parsed.tls, "tls", false, "")
	options.Float64Var(&seconds, "start-timeout", 30, "for the broker to be there")
	options.StringVar(&parsed.accessEndpoints, "access-endpoints", "", "of a broker with access control")
	options.StringVar(&parsed.accessKey, "access-key", "", "")
	options.StringVar(&parsed.secretKey, "secret-key", "", "")
	if err := options.Parse(words); err != nil {
		return nil, err
	}
	if options.Arg(0) != "scenario" {
		return nil, fmt.Errorf("there is to be the command scenario")
	}
	if err := options.Parse(options.Args()[1:]); err != nil {
		return nil, err
	}
	// Names and options in any order.
	for options.NArg() > 0 {
		parsed.names = append(parsed.names, options.Arg(0))
		if err := options.Parse(options.Args()[1:]); err != nil {
			return nil, err
		}
	}
	if parsed.endpoints == "" || parsed.topic == "" || len(parsed.names) == 0 {
		return nil, fmt.Errorf("--endpoints, --topic and names of scenarios are needed")
	}
	parsed.startTimeout = time.Duration(seconds * float64(time.Second))
	return parsed, nil
}

func main() {
	parsed, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients/run go:", err)
		os.Exit(2)
	}
	// The library writes to the standard logger, too.
	log.SetOutput(io.Discard)
	rmq.EnableSsl = parsed.tls
	if !runScenarios(parsed) {
		os.Exit(1)
	}
}
