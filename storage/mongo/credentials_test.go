package mongo

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/pbkdf2"
	"golang.org/x/crypto/scrypt"

	"rollcall/internal/auth"
	"rollcall/storage"
)

const password = "pencil"

func encoded(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// scramText is keys in the form of RFC 5803.
func scramText(k storage.SCRAMKeys) string {
	return k.Mechanism + "$4096:" + encoded(k.Salt) + "$" + encoded(k.StoredKey) + ":" + encoded(k.ServerKey)
}

func scramDocument(k storage.SCRAMKeys) bson.D {
	return bson.D{
		{Key: "iterationCount", Value: k.Iterations}, {Key: "salt", Value: encoded(k.Salt)},
		{Key: "storedKey", Value: encoded(k.StoredKey)}, {Key: "serverKey", Value: encoded(k.ServerKey)},
	}
}

// TestCredentials logs in with what is stored in every form.
func TestCredentials(t *testing.T) {
	keys, err := auth.NewCredentials(password, 4096)
	if err != nil {
		t.Fatal(err)
	}
	hashed, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	salt := []byte("0123456789abcdef")
	sum := pbkdf2.Key([]byte(password), salt, 1000, 32, sha256.New)
	sum512 := pbkdf2.Key([]byte(password), salt, 1000, 64, sha512.New)
	scrypted, err := scrypt.Key([]byte(password), salt, 1024, 8, 1, 64)
	if err != nil {
		t.Fatal(err)
	}
	byMechanism := bson.D{}
	list := bson.A{}
	for _, k := range keys.SCRAM {
		byMechanism = append(byMechanism, bson.E{Key: k.Mechanism, Value: scramDocument(k)})
		list = append(list, scramText(k))
	}
	split := HashFields{Salt: "salt", Iterations: 1000}
	tests := map[string]struct {
		users Users
		doc   bson.M
		scram int // keys
		none  bool
	}{
		"bcrypt":               {Users{}, bson.M{"password": string(hashed)}, 0, false},
		"bcrypt by name":       {Users{Scheme: SchemeBcrypt}, bson.M{"password": string(hashed)}, 0, false},
		"argon2id":             {Users{}, bson.M{"password": "$argon2id$v=19$m=64,t=1,p=1$0fr/fw9BaI3R+p8TwpgzBg$Trbqf+nFAMnjkN8yLoV80ZwSdB0HdI23vlCmQwl4OSY"}, 0, false},
		"passlib's pbkdf2":     {Users{}, bson.M{"password": "$pbkdf2-sha256$1$cw$6OXs0C5SkcUhQH0WIAAtvJ9TnwP4lIYsGUQPOni1W/I"}, 0, false},
		"Django's pbkdf2":      {Users{Scheme: SchemePBKDF2}, bson.M{"password": "pbkdf2_sha256$1000$s44cgVSCs8FN$CUyiXpkiNDTb7fEu7E1yOCrwTLKQV1K8VnC3WCzDwhg="}, 0, false},
		"passlib's scrypt":     {Users{}, bson.M{"password": "$scrypt$ln=10,r=8,p=1$4lxLyRlD6P2/l9Laey9FCA$lJxTN/0m6DhzNybR0CXTzXfeyQoKDVJFjnPAc8DMMDM"}, 0, false},
		"bcrypt, else":         {Users{Scheme: SchemeScrypt}, bson.M{"password": string(hashed)}, 0, true},
		"nested":               {Users{Password: "login.secret"}, bson.M{"login": bson.M{"secret": string(hashed)}}, 0, false},
		"scram document":       {Users{Scheme: SchemeSCRAM}, bson.M{"password": byMechanism}, 3, false},
		"scram found":          {Users{}, bson.M{"password": byMechanism[:1]}, 1, false},
		"scram list":           {Users{Scheme: SchemeSCRAM}, bson.M{"password": list}, 3, false},
		"scram text":           {Users{}, bson.M{"password": list[0]}, 1, false},
		"scram, twice":         {Users{}, bson.M{"password": bson.A{list[0], list[0]}}, 1, false},
		"scram, damaged":       {Users{}, bson.M{"password": strings.Replace(list[0].(string), "$4096", "$x", 1)}, 0, true},
		"scram, empty":         {Users{}, bson.M{"password": bson.M{}}, 0, true},
		"scram wanted":         {Users{Scheme: SchemeSCRAM}, bson.M{"password": string(hashed)}, 0, true},
		"plain":                {Users{Scheme: SchemePlain, AllowPlain: true}, bson.M{"password": password}, 0, false},
		"plain, unasked":       {Users{AllowPlain: true}, bson.M{"password": password}, 0, true},
		"plain, empty":         {Users{Scheme: SchemePlain}, bson.M{"password": ""}, 0, true},
		"an old digest":        {Users{}, bson.M{"password": "5f4dcc3b5aa765d61d8327deb882cf99"}, 0, true},
		"nothing":              {Users{}, bson.M{}, 0, true},
		"a number":             {Users{}, bson.M{"password": 7}, 0, true},
		"pbkdf2, hex":          {Users{Scheme: SchemePBKDF2, Hash: HashFields{Salt: "salt", Iterations: 1000}}, bson.M{"password": hex.EncodeToString(sum), "salt": hex.EncodeToString(salt)}, 0, false},
		"pbkdf2, binary":       {Users{Scheme: SchemePBKDF2, Hash: split}, bson.M{"password": sum, "salt": salt}, 0, false},
		"pbkdf2, base64":       {Users{Scheme: SchemePBKDF2, Hash: HashFields{Salt: "salt", Iterations: 1000, Encoding: EncodingBase64Text}}, bson.M{"password": encoded(sum), "salt": string(salt)}, 0, false},
		"pbkdf2, own rounds":   {Users{Scheme: SchemePBKDF2, Hash: HashFields{Salt: "salt", Digest: "sha512", IterationsField: "n"}}, bson.M{"password": sum512, "salt": salt, "n": 1000.0}, 0, false},
		"pbkdf2, no rounds":    {Users{Scheme: SchemePBKDF2, Hash: HashFields{Salt: "salt", IterationsField: "n"}}, bson.M{"password": sum, "salt": salt}, 0, true},
		"pbkdf2, bad rounds":   {Users{Scheme: SchemePBKDF2, Hash: HashFields{Salt: "salt", IterationsField: "n"}}, bson.M{"password": sum, "salt": salt, "n": "x"}, 0, true},
		"pbkdf2, no salt":      {Users{Scheme: SchemePBKDF2, Hash: split}, bson.M{"password": sum}, 0, true},
		"pbkdf2, bad encoding": {Users{Scheme: SchemePBKDF2, Hash: split}, bson.M{"password": "xyz", "salt": salt}, 0, true},
		"scrypt":               {Users{Scheme: SchemeScrypt, Hash: HashFields{Salt: "salt", N: 1024}}, bson.M{"password": scrypted, "salt": salt}, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := newPasswords(Config{Users: tt.users}.withDefaults().Users).of(raw(t, tt.doc))
			if (err != nil) != tt.none {
				t.Fatalf("%v", err)
			}
			if err != nil {
				if strings.Contains(err.Error(), "pencil") || strings.Contains(err.Error(), "xyz") {
					t.Errorf("the error shows the password: %v", err)
				}
				return
			}
			if len(c.SCRAM) != tt.scram {
				t.Errorf("%d keys, want %d", len(c.SCRAM), tt.scram)
			}
			if !auth.Verify(c, password) || auth.Verify(c, "pencils") {
				t.Errorf("%+v: the right password does not fit, or a wrong one does", c)
			}
		})
	}
}

func TestKeysSurvive(t *testing.T) {
	keys, err := auth.NewCredentials(password, 4096)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range keys.SCRAM {
		got, ok := keysInText(scramText(want))
		if !ok || got.Mechanism != want.Mechanism || got.Iterations != want.Iterations || !bytes.Equal(got.Salt, want.Salt) ||
			!bytes.Equal(got.StoredKey, want.StoredKey) || !bytes.Equal(got.ServerKey, want.ServerKey) {
			t.Errorf("%+v, %v; want %+v", got, ok, want)
		}
	}
}
