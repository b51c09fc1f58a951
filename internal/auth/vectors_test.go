package auth

import (
	"encoding/base64"
	"strings"
	"testing"

	"rollcall/storage"
)

// hashVectors are hashes made by others: bcrypt of pyca, argon2-cffi, passlib 1.7.4, Django
// 5.2.19, glibc's libxcrypt, and Python's hashlib.
func hashVectors() []struct{ by, scheme, password, hash string } {
	long := strings.Repeat("x", 72)
	return []struct{ by, scheme, password, hash string }{
		{"bcrypt 4.0.1", "bcrypt", "pencil", "$2b$04$kXF7WWT5i8Jj1SH8z3hycuVGKi3hpX6wDpfrj5MvCS6BXitxoYqqi"},
		{"bcrypt 4.0.1, 2a", "bcrypt", "Fußball €1", "$2a$05$fyNUEkQzV4MLlTdEpkR4q.56JDw8J.Ic47hgwhEy9tTWDJEXUPN8u"},
		{"bcrypt 4.0.1, 78 bytes", "bcrypt", long + "beyond", "$2b$04$KYFQ4jRtU2Fv9LqxJmPAUu42waTtJRWZ8eTkqdydaEcw6hjaIdh3e"},
		{"passlib, 2y", "bcrypt", "pencil", "$2y$04$36F3FbBbs9FTTDpVmHa.EOH3DMe.H/CGWRBn5s.voNGuehD/INwhS"},
		{"libxcrypt, 2y", "bcrypt", "Fußball €1", "$2y$04$abcdefghijklmnopqrstuuhuzy0qYSb/93rq//wWVN10cgKdNnGYy"},
		{"libxcrypt, 2b", "bcrypt", "pencil", "$2b$06$WvvTPHKwdBJ3uk0Z37EMReE9RtZs168eWAK2LYMqa2HrUEC0IUp8."},
		{"argon2-cffi", "argon2id", "pencil", "$argon2id$v=19$m=1024,t=2,p=1$zilauECWM8aVoSVMXKXUrw$AoXze/qbaBbWoiraCCzManOTVZwP4YcrcIlKJRdMtXY"},
		{"argon2-cffi, 4 lanes, 64 bytes", "argon2id", "Fußball €1", "$argon2id$v=19$m=512,t=3,p=4$HPoNbSk6EVg$Zhw4DyyjqIeJcanWZfbfmEwgMhpAlF/EV+6pYr1kkRD2c3M14ITIKAA1wb6TpghYQqq9xBOcP6jgEqlU61SJFw"},
		{"passlib", "argon2id", "pencil", "$argon2id$v=19$m=64,t=1,p=1$0fr/fw9BaI3R+p8TwpgzBg$Trbqf+nFAMnjkN8yLoV80ZwSdB0HdI23vlCmQwl4OSY"},
		{"passlib, default rounds", "pbkdf2", "pencil", "$pbkdf2-sha256$29000$S.mds7a2FgLAeO.dszbm3A$h.aMYcmN4fRU/3ExbmWMT.WUL.JatEDpoBPlVnm77ZQ"},
		{"passlib, SHA-1", "pbkdf2", "Fußball €1", "$pbkdf2$1000$Yex9D.Hc.3/v/f8/p5Sytg$FUpvt9dQ5d8xH.8SHvNFGWtASg8"},
		{"passlib, SHA-512", "pbkdf2", "Fußball €1", "$pbkdf2-sha512$1000$ppRyzrlXKkUoxbgXYuw9pw$T2t3/qQTnNARnLljHAGiWYUmR1h/omI6Mzr4RYNtrfJUYxuOoF/ZfxZ00cV06lM230Hgn/xbzlCetBpLQESD2A"},
		{"passlib, no salt to speak of", "pbkdf2", "pencil", "$pbkdf2-sha256$1$cw$6OXs0C5SkcUhQH0WIAAtvJ9TnwP4lIYsGUQPOni1W/I"},
		{"Django 5.2", "pbkdf2", "pencil", "pbkdf2_sha256$5000$seasalt2AbC$FdPa+fjxcyYirV2PeStCJ95FkozYM0eTyhZf7bFpaRI="},
		{"Django 5.2, SHA-1", "pbkdf2", "Fußball €1", "pbkdf2_sha1$1000$s.alt$WmKU5X44ZhCt+iTtuK4i/DhV/tQ="},
		{"passlib, as Django", "pbkdf2", "pencil", "pbkdf2_sha256$1000$s44cgVSCs8FN$CUyiXpkiNDTb7fEu7E1yOCrwTLKQV1K8VnC3WCzDwhg="},
		{"passlib", "scrypt", "pencil", "$scrypt$ln=10,r=8,p=1$4lxLyRlD6P2/l9Laey9FCA$lJxTN/0m6DhzNybR0CXTzXfeyQoKDVJFjnPAc8DMMDM"},
		{"passlib, p=3", "scrypt", "Fußball €1", "$scrypt$ln=6,r=4,p=3$nBNizFlrLYXQGiMkRMh5jw$JCpVMJQv8kKXQez/T52fNBb1neHQ2gKxjvqIBEii6GM"},
		{"hashlib, 64 bytes", "scrypt", "pencil", "$scrypt$ln=10,r=8,p=1$yMnKy8zNzs/Q0dLT1NXW1w$JwJpsNInsoVafDJmfzY9py4/hjPDRd+D8XERiX1j7FUNlmzRSB5xDh8lsd44Gt4LQAr5fk2Fk/eRvyDBiGwfRQ"},
		{"hashlib, 512 bytes", "pbkdf2", "pencil", "$pbkdf2-sha256$25000$.//..//..//..//.$BB7DcupRF9p8ciNLl9aq2kR8rzOngbAA5AXcSuuYgNb/sPhzxCPFEwGlOYbe5Kj7azKiXQod" +
			"4h3JqOF/NXY0kDPSS/523j7i23q9D/OILrU2u0hv/EDb.tst9TB4syJKwyv3pive0UgX6vC2QUbz3elHzeMgWE2X9Ofw2NeqhjVrUXCYIoq2ZH" +
			"AAF0mnIFIXkvJFM7g24OyhMtc/imdFjnRhu5tksFcgZTvMsez5Px2vpikfdjeiYekwbyW1tpegridZHTgNe/ILnipu9wzU39VPPSZXqgtIA/zo" +
			"4bZi3FgpHSBIgOUhv/A3tSt8qyiBSHSsnlTzl6cq55Mu7mUUq5CFPcfXs7uO93K9Kyv6tHtOgKURnaaHLzK2rpb80MYst5.SN1B/Xy1LBx4Kf5" +
			"FRKAIKBaycGBmSIZBNM3lhYuGeuIOobnoin0vGsb4KUswEbDcVK4GDx.WcaNRrIVO1.STOUbwagj.MiAUDB3r6PZNNqWEFEAXlK8OtBYrmH58O" +
			"xE4GjuQIwxSrHuJYxKBXSksJ3n///9jDyCeNlLiW3VTOcJXbBxLEgsOYAe5WCmzy.oN2f0Qrlxwin0m/TaI7kiEcSiMvggVmGY.ToUzD1IB8Ut" +
			"ZaYeGwmK2nIDAXcaYpKRM9xjx7KdeHLM.IlWcETSte.OHkB/eH8lXsG1hORzs"},
		{"hashlib, 20 of 64 bytes", "pbkdf2", "Fußball €1", "$pbkdf2-sha512$1000$+//++//++//++//+$3GDmfdMy//p1wR/qAbMUpFUS9qA"},
	}
}

func TestHashVectors(t *testing.T) {
	for _, v := range hashVectors() {
		name := v.scheme + " by " + v.by
		if scheme, err := Hashed(v.hash); scheme != v.scheme || err != nil {
			t.Errorf("%s: Hashed = %q, %v", name, scheme, err)
		}
		c := storage.Credentials{Hash: v.hash}
		if !Verify(c, v.password) {
			t.Errorf("%s: %q does not fit", name, v.password)
		}
		if Verify(c, "P"+v.password[1:]) || Verify(c, "") {
			t.Errorf("%s: another password fits", name)
		}
		// Within the sum, and at the beginning of the part before it; the very last
		// character may have bits that mean nothing.
		for _, at := range []int{len(v.hash) - 3, strings.LastIndexByte(v.hash[:len(v.hash)-31], '$') + 1} {
			other := "A"
			if v.hash[at] == 'A' {
				other = "B"
			}
			c := storage.Credentials{Hash: v.hash[:at] + other + v.hash[at+1:]}
			if len(v.hash) < 500 && Verify(c, v.password) { // of a long sum the first block counts
				t.Errorf("%s: fits after a change at %d", name, at)
			}
		}
	}
	// The form that a product may have hashed instead of what was typed.
	composed := storage.Credentials{Hash: "pbkdf2_sha256$1$salt$" + djangoSum(t, "caf\u00e9")}
	for password, want := range map[string]bool{"caf\u00e9": true, "cafe\u0301": true, "cafe": false} {
		if Verify(composed, password) != want {
			t.Errorf("%+q: not %v", password, want)
		}
	}
	decomposed := storage.Credentials{Hash: "pbkdf2_sha256$1$salt$" + djangoSum(t, "cafe\u0301")}
	if !Verify(decomposed, "cafe\u0301") {
		t.Error("what was hashed as it was typed does not fit")
	}
}

// TestForeignKeys checks SCRAM keys that scramp 1.5.0 made.
func TestForeignKeys(t *testing.T) {
	bytes := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, k := range []storage.SCRAMKeys{
		{Mechanism: scramSHA1, Iterations: 4096, Salt: bytes("a5X8rzTWJnJeMtUSBboGzaJ8kYfQtdXyKdDcXr53XlU="),
			StoredKey: bytes("BUzGu9BPlQBWjSEBiJrPZqKtWc4="), ServerKey: bytes("ZexUQqerq2WU/KE/bdktLOvszpw=")},
		{Mechanism: scramSHA256, Iterations: 4096, Salt: bytes("x0W/zaYDdzQaai5SwpEMjRD7XjiKE4EIwdMjJrjENXs="),
			StoredKey: bytes("sv/YfB0htWT5x/UOmbeIoxk8JVewNtiALhLKqG+9v5M="), ServerKey: bytes("RbsOAU+crqQPYODdohRX5dE7Wc4FqdLS51LUWUDIZw0=")},
	} {
		c := storage.Credentials{SCRAM: []storage.SCRAMKeys{k}}
		if !Verify(c, "pencil") || Verify(c, "pencils") {
			t.Errorf("%s: keys do not fit", k.Mechanism)
		}
		c.SCRAM[0].Iterations = maxIterations + 1
		if _, ok := keysFor(c, k.Mechanism); ok {
			t.Errorf("%s: too many iterations are fine", k.Mechanism)
		}
	}
}
