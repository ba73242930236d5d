// Command lua runs one health script over objects as Argo CD does: `lua SCRIPT` reads objects
// from stdin, a JSON object a line, and prints what the script returned for each, as JSON.
//
// As Argo CD without useOpenLibs: package, base and table are the only libraries (beside the time
// functions of os, which no script here needs), `obj` is a global, and a script has one second.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: lua SCRIPT < OBJECTS")
	}
	script, err := os.ReadFile(os.Args[1])
	check(err)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var object map[string]any
		check(json.Unmarshal(lines.Bytes(), &object))
		health, err := run(string(script), object)
		check(err)
		out, err := json.Marshal(health)
		check(err)
		fmt.Println(string(out))
	}
	check(lines.Err())
}

func run(script string, object map[string]any) (map[string]string, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		open := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(open, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	state.SetGlobal("obj", value(state, object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the script returned %s, not a table", state.Get(-1).Type())
	}
	health := map[string]string{}
	result.ForEach(func(key, field lua.LValue) { health[key.String()] = field.String() })
	return health, nil
}

// What luajson makes of decoded JSON: null is nil, lists begin at 1.
func value(state *lua.LState, decoded any) lua.LValue {
	switch decoded := decoded.(type) {
	case bool:
		return lua.LBool(decoded)
	case float64:
		return lua.LNumber(decoded)
	case string:
		return lua.LString(decoded)
	case []any:
		table := state.CreateTable(len(decoded), 0)
		for _, item := range decoded {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(decoded))
		for key, item := range decoded {
			table.RawSetString(key, value(state, item))
		}
		return table
	}
	return lua.LNil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
