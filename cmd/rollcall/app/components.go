package app

import (
	"slices"

	"rollcall/conf"
	"rollcall/internal/xmlscan"
	"rollcall/modules/component"
)

// componentOutbox is the least that may wait for a component, in bytes: it speaks for
// many.
const componentOutbox = 16 << 20

// components is the module that serves components, nil where there are none.
func components(c *conf.Config) (*component.Module, error) {
	if len(c.Listen.Components) == 0 {
		return nil, nil
	}
	o := component.Options{
		HandshakeTime: c.Limits.LoginTime, OutboxBytes: max(int(c.Limits.OutboxBytes), componentOutbox),
		Element: xmlscan.Limits{Bytes: int(c.Limits.StanzaBytes), Depth: c.Limits.Depth, Attrs: c.Limits.Attributes},
	}
	for i, l := range c.Listen.Components {
		secret, err := c.SecretOf(i)
		if err != nil {
			return nil, err
		}
		o.Components = append(o.Components, component.Component{Name: l.Name, Secret: secret})
	}
	return component.New(o), nil
}

// listenComponents opens one listener for each address of components.
func (a *App) listenComponents() error {
	var order []string
	names := make(map[string][]string)
	for _, l := range a.o.Config.Listen.Components {
		if !slices.Contains(order, l.Address) {
			order = append(order, l.Address)
		}
		names[l.Address] = append(names[l.Address], l.Name)
	}
	for _, address := range order {
		ln, err := listen(address)
		if err != nil {
			return err
		}
		acceptor := a.components.Accept(names[address]...)
		a.closers = append(a.closers, closer{ln, acceptor.Close})
		a.foreign = append(a.foreign, ln.Addr())
		a.o.Log.Info("listening", "for", "components", "address", ln.Addr().String())
		a.background("accepting on "+ln.Addr().String(), func() error { return acceptor.Serve(ln) })
	}
	return nil
}
