// A go-control-plane server that serves what it is told: the peer of `cargo xtask fleet`.
//
// What it does is what the library makes easy, in its cheapest form: resources, their maps and their versions are shared by all
// snapshots that have them, and a linear cache is shared by all nodes that it serves alike.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

// kinds are the types that are served, each with the part of a node's cluster that says which group of it the node gets.
var kinds = []struct {
	url  string
	part int
	new  func() types.Resource
}{
	{resource.ClusterType, 0, func() types.Resource { return &cluster.Cluster{} }},
	{resource.EndpointType, 1, func() types.Resource { return &endpoint.ClusterLoadAssignment{} }},
	{resource.ListenerType, 0, func() types.Resource { return &listener.Listener{} }},
	{resource.RouteType, 2, func() types.Resource { return &route.RouteConfiguration{} }},
	{resource.VirtualHostType, 2, func() types.Resource { return &route.VirtualHost{} }},
}

// script is everything that is served.
type script struct {
	Resources [][]byte           `json:"resources"`
	Groups    map[string][][]int `json:"groups"`
	Nodes     []string           `json:"nodes"`
}

// update is one resource that has changed.
type update struct {
	TypeURL  string `json:"type_url"`
	Groups   []int  `json:"groups"`
	Resource []byte `json:"resource"`
}

// store is a cache that can be told what to serve.
type store interface {
	cache.Cache
	load(script) error
	update([]update) error
}

func kindOf(url string) (int, error) {
	for index, kind := range kinds {
		if kind.url == url {
			return index, nil
		}
	}
	return 0, fmt.Errorf("unknown type %s", url)
}

// decode reads a resource as a delta response has it.
func decode(kind int, encoded []byte) (types.Resource, error) {
	var wrapped discovery.Resource
	if err := proto.Unmarshal(encoded, &wrapped); err != nil {
		return nil, err
	}
	message := kinds[kind].new()
	if err := proto.Unmarshal(wrapped.GetResource().GetValue(), message); err != nil {
		return nil, err
	}
	return message, nil
}

// decodeAll reads every resource once, by the place that it has in the script.
func decodeAll(s script) ([][][]types.Resource, error) {
	known := make(map[int]types.Resource)
	all := make([][][]types.Resource, len(kinds))
	for url, groups := range s.Groups {
		kind, err := kindOf(url)
		if err != nil {
			return nil, err
		}
		for _, group := range groups {
			resources := make([]types.Resource, 0, len(group))
			for _, index := range group {
				if known[index] == nil {
					if known[index], err = decode(kind, s.Resources[index]); err != nil {
						return nil, err
					}
				}
				resources = append(resources, known[index])
			}
			all[kind] = append(all[kind], resources)
		}
	}
	return all, nil
}

// groupOf says which group of a kind a node gets.
func groupOf(node string, kind int) (int, error) {
	parts := strings.Split(node, "/")
	part := kinds[kind].part
	if part >= len(parts) {
		return 0, fmt.Errorf("node %q names no groups", node)
	}
	return strconv.Atoi(parts[part])
}

// byCluster tells nodes apart by their clusters, which name their groups.
type byCluster struct{}

func (byCluster) ID(node *core.Node) string { return node.GetCluster() }

// group is what the nodes of one group share.
type group struct {
	resources cache.Resources
	versions  map[string]string
}

// snapshots has a snapshot for each kind of node.
type snapshots struct {
	cache.SnapshotCache
	nodes   []string
	groups  [][]group
	changes int
}

func version(resource types.Resource) (string, error) {
	bytes, err := cache.MarshalResource(resource)
	if err != nil {
		return "", err
	}
	return cache.HashResource(bytes), nil
}

func (s *snapshots) load(script script) error {
	all, err := decodeAll(script)
	if err != nil {
		return err
	}
	s.nodes = script.Nodes
	s.groups = make([][]group, len(kinds))
	versions := make(map[types.Resource]string)
	for kind, groups := range all {
		for _, resources := range groups {
			shared := group{cache.NewResources("0", resources), make(map[string]string, len(resources))}
			for _, one := range resources {
				if versions[one] == "" {
					if versions[one], err = version(one); err != nil {
						return err
					}
				}
				shared.versions[cache.GetResourceName(one)] = versions[one]
			}
			s.groups[kind] = append(s.groups[kind], shared)
		}
	}
	return s.set(func(string) bool { return true })
}

// set makes new snapshots for some nodes.
func (s *snapshots) set(concerned func(node string) bool) error {
	for _, node := range s.nodes {
		if !concerned(node) {
			continue
		}
		snapshot := &cache.Snapshot{VersionMap: make(map[string]map[string]string)}
		for kind := range kinds {
			number, err := groupOf(node, kind)
			if err != nil {
				return err
			}
			shared := s.groups[kind][number]
			snapshot.Resources[cache.GetResponseType(kinds[kind].url)] = shared.resources
			snapshot.VersionMap[kinds[kind].url] = shared.versions
		}
		if err := s.SetSnapshot(context.Background(), node, snapshot); err != nil {
			return err
		}
	}
	return nil
}

func (s *snapshots) update(updates []update) error {
	s.changes++
	type place struct{ kind, group int }
	changed := make(map[place]bool)
	for _, update := range updates {
		kind, err := kindOf(update.TypeURL)
		if err != nil {
			return err
		}
		message, err := decode(kind, update.Resource)
		if err != nil {
			return err
		}
		hash, err := version(message)
		if err != nil {
			return err
		}
		name := cache.GetResourceName(message)
		for _, number := range update.Groups {
			// A snapshot does not change once it is set, so its maps are copied.
			before := s.groups[kind][number]
			after := group{
				cache.Resources{Version: strconv.Itoa(s.changes), Items: make(map[string]types.ResourceWithTTL, len(before.resources.Items))},
				make(map[string]string, len(before.versions)),
			}
			for name, item := range before.resources.Items {
				after.resources.Items[name] = item
			}
			for name, hash := range before.versions {
				after.versions[name] = hash
			}
			after.resources.Items[name] = types.ResourceWithTTL{Resource: message}
			after.versions[name] = hash
			s.groups[kind][number] = after
			changed[place{kind, number}] = true
		}
	}
	return s.set(func(node string) bool {
		for kind := range kinds {
			number, err := groupOf(node, kind)
			if err == nil && changed[place{kind, number}] {
				return true
			}
		}
		return false
	})
}

// linear has a linear cache for each group of each type.
type linear struct {
	cache.MuxCache
}

func newLinear() *linear {
	l := &linear{}
	key := func(node *core.Node, url string) string {
		kind, err := kindOf(url)
		if err != nil {
			return ""
		}
		number, err := groupOf(node.GetCluster(), kind)
		if err != nil {
			return ""
		}
		return keyOf(kind, number)
	}
	l.Classify = func(request *cache.Request) string { return key(request.GetNode(), request.GetTypeUrl()) }
	l.ClassifyDelta = func(request *cache.DeltaRequest) string { return key(request.GetNode(), request.GetTypeUrl()) }
	return l
}

func keyOf(kind, group int) string { return fmt.Sprintf("%d/%d", kind, group) }

func (l *linear) load(script script) error {
	all, err := decodeAll(script)
	if err != nil {
		return err
	}
	caches := make(map[string]cache.Cache)
	for kind, groups := range all {
		for number, resources := range groups {
			initial := cache.WithInitialResources(cache.IndexRawResourcesByName(resources))
			caches[keyOf(kind, number)] = cache.NewLinearCache(kinds[kind].url, initial)
		}
	}
	l.Caches = caches
	return nil
}

func (l *linear) update(updates []update) error {
	for _, update := range updates {
		kind, err := kindOf(update.TypeURL)
		if err != nil {
			return err
		}
		message, err := decode(kind, update.Resource)
		if err != nil {
			return err
		}
		for _, number := range update.Groups {
			of, ok := l.Caches[keyOf(kind, number)].(*cache.LinearCache)
			if !ok {
				return fmt.Errorf("there is no group %d of %s", number, update.TypeURL)
			}
			if err := of.UpdateResource(cache.GetResourceName(message), message); err != nil {
				return err
			}
		}
	}
	return nil
}

// control takes what is to be served over HTTP, one request at a time.
func control(s store) http.Handler {
	var prepared []update
	mux := http.NewServeMux()
	handle := func(path string, take func(body []byte) error) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = take(body)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})
	}
	handle("/script", func(body []byte) error {
		var told script
		if err := json.Unmarshal(body, &told); err != nil {
			return err
		}
		return s.load(told)
	})
	handle("/prepare", func(body []byte) error {
		prepared = nil
		return json.Unmarshal(body, &prepared)
	})
	handle("/commit", func([]byte) error {
		return s.update(prepared)
	})
	return mux
}

func options(certificates string) ([]grpc.ServerOption, error) {
	options := []grpc.ServerOption{
		grpc.MaxConcurrentStreams(1000000),
		// The first request of a proxy that comes back lists all that it holds.
		grpc.MaxRecvMsgSize(math.MaxInt32),
	}
	if certificates == "" {
		return options, nil
	}
	file := func(name string) string { return filepath.Join(certificates, name) }
	pair, err := tls.LoadX509KeyPair(file("server.pem"), file("server-key.pem"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(file("authority.pem"))
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(authority) {
		return nil, errors.New("authority.pem has no certificate")
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
	}
	return append(options, grpc.Creds(credentials.NewTLS(config))), nil
}

func run() error {
	addressesFile := flag.String("addresses-file", "", "where to write the addresses that are listened on, as JSON")
	certificates := flag.String("certificates", "", "the folder with certificates, for mutual TLS")
	kind := flag.String("cache", "snapshot", "snapshot or linear")
	flag.Parse()

	var s store
	switch *kind {
	case "snapshot":
		s = &snapshots{SnapshotCache: cache.NewSnapshotCache(false, byCluster{}, nil)}
	case "linear":
		s = newLinear()
	default:
		return fmt.Errorf("unknown cache %q", *kind)
	}
	serverOptions, err := options(*certificates)
	if err != nil {
		return err
	}
	xds, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	told, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addresses, err := json.Marshal(map[string]string{"xds": xds.Addr().String(), "control": told.Addr().String()})
	if err != nil {
		return err
	}
	fresh := *addressesFile + ".fresh"
	if err := os.WriteFile(fresh, addresses, 0o600); err != nil {
		return err
	}
	if err := os.Rename(fresh, *addressesFile); err != nil {
		return err
	}

	grpcServer := grpc.NewServer(serverOptions...)
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, server.NewServer(context.Background(), s, nil))
	failed := make(chan error, 2)
	go func() { failed <- grpcServer.Serve(xds) }()
	go func() { failed <- http.Serve(told, control(s)) }()
	return <-failed
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
