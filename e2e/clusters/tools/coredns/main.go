// CoreDNS with the few plugins a local cluster's DNS needs: the full program takes several times as long to build.
package main

import (
	"context"

	"github.com/coredns/caddy"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	"github.com/miekg/dns"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	"github.com/coredns/coredns/plugin"
)

// nothingElse says of every name that it does not exist. There is no server to ask about names outside the cluster, and
// CoreDNS' refusal would look like an outage to clients.
type nothingElse struct{}

func (nothingElse) Name() string { return "nothingelse" }

func (nothingElse) ServeDNS(_ context.Context, writer dns.ResponseWriter, request *dns.Msg) (int, error) {
	answer := new(dns.Msg)
	answer.SetRcode(request, dns.RcodeNameError)
	return dns.RcodeNameError, writer.WriteMsg(answer)
}

func init() {
	plugin.Register("nothingelse", func(controller *caddy.Controller) error {
		dnsserver.GetConfig(controller).AddPlugin(func(plugin.Handler) plugin.Handler { return nothingElse{} })
		return nil
	})
	// In the order in which they are asked.
	dnsserver.Directives = []string{"ready", "errors", "kubernetes", "nothingelse"}
}

func main() {
	coremain.Run()
}
