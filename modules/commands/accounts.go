package commands

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"rollcall/internal/auth"
	"rollcall/internal/ns"
	"rollcall/storage"
)

// maxPassword bounds a password, in bytes.
const maxPassword = 1024

// accountCommands are XEP-0133 sections 4.1, 4.2 and 4.7.
func accountCommands() []*command {
	account := field{name: "accountjid", kind: "jid-single", label: "The address of the account", required: true}
	password := field{name: "password", kind: "text-private", label: "The password of the account", required: true}
	return []*command{{
		node: ns.Admin + "#add-user", name: "Add User", accounts: true, run: addUser,
		form: &form{title: "Adding a User", instructions: "Fill out this form to add a user.", fields: []field{
			account, password,
			{name: "password-verify", kind: "text-private", label: "The same password again"},
			{name: "given_name", kind: "text-single", label: "Given name"},
			{name: "surname", kind: "text-single", label: "Family name"},
		}},
	}, {
		node: ns.Admin + "#delete-user", name: "Delete User", accounts: true, run: deleteUsers,
		form: &form{title: "Deleting a User", instructions: "Fill out this form to delete users.", fields: []field{
			{name: "accountjids", kind: "jid-multi", label: "The addresses of the accounts", required: true},
		}},
	}, {
		node: ns.Admin + "#change-user-password", name: "Change User Password", accounts: true, run: changePassword,
		form: &form{title: "Changing a User Password", instructions: "Fill out this form to change a user's password.", fields: []field{
			account, password,
		}},
	}}
}

// credentials makes what the store keeps of the password in the form.
func (m *Module) credentials(v values) (c storage.Credentials, err error) {
	password := v.text("password")
	if again, ok := v["password-verify"]; ok && len(again) > 0 && again[0] != password {
		return c, badPayload("the passwords differ")
	}
	if len(password) > maxPassword {
		return c, badPayload("the password is too long")
	}
	if c, err = m.o.Credentials(password); errors.Is(err, storage.ErrInvalid) {
		err = badPayload("the password has characters that are not permitted")
	}
	return c, err
}

func addUser(ctx context.Context, m *Module, x *execution) (answer, error) {
	account, err := x.values.addresses("accountjid", x.host, false)
	if err != nil {
		return answer{}, err
	}
	if auth.IsAnonymous(account[0].Local()) {
		return answer{}, badPayload("nobody may be called so")
	}
	name := strings.TrimSpace(x.values.text("given_name") + " " + x.values.text("surname"))
	if len(name) > storage.MaxName || !utf8.ValidString(name) {
		return answer{}, badPayload("the name is too long")
	}
	c, err := m.credentials(x.values)
	if err != nil {
		return answer{}, err
	}
	u := storage.UserRecord{User: storage.User{ID: account[0].Local(), Name: name}, Credentials: &c}
	return answer{}, storeError(m.o.Accounts.AddUser(ctx, u), account[0].String())
}

func changePassword(ctx context.Context, m *Module, x *execution) (answer, error) {
	account, err := x.values.addresses("accountjid", x.host, false)
	if err != nil {
		return answer{}, err
	}
	c, err := m.credentials(x.values)
	if err != nil {
		return answer{}, err
	}
	return answer{}, storeError(m.o.Accounts.SetCredentials(ctx, account[0].Local(), c), account[0].String())
}

// deleteUsers removes accounts; whoever watches the directory ends their sessions. Those
// that are gone already do not keep the others.
func deleteUsers(ctx context.Context, m *Module, x *execution) (answer, error) {
	accounts, err := x.values.addresses("accountjids", x.host, false)
	if err != nil {
		return answer{}, err
	}
	var missing error
	for _, j := range accounts {
		err := storeError(m.o.Accounts.RemoveUser(ctx, j.Local()), j.String())
		if err != nil && missing == nil {
			missing = err
		}
	}
	return answer{}, missing
}
