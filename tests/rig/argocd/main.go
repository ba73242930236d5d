// A store that speaks the protocol of Redis, in memory, for the cache that Argo CD's processes share.
// Listens at the address given as the only argument.
package main

import (
	"log"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: store ADDRESS")
	}
	store := miniredis.NewMiniRedis()
	if err := store.StartAddr(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	// Its entries grow old only when told to.
	for range time.Tick(time.Second) {
		store.FastForward(time.Second)
	}
}
