package importfile

import "rollcall/storage"

// file reads the whole file.
func (p *parser) file() {
	users, projects := make(map[string]Place), make(map[string]Place)
	p.object("the file", []string{"users", "projects"}, func(key string, _ Place) {
		switch key {
		case "users":
			p.array(`"users"`, func(at Place) { p.user(at, users) })
		case "projects":
			p.array(`"projects"`, func(at Place) { p.project(at, projects) })
		}
	})
}

// user reads an entry of "users"; seen has the places of those before.
func (p *parser) user(at Place, seen map[string]Place) {
	before := p.problems.count()
	u := User{Place: at}
	given := false
	ok := p.object("a user", []string{"id", "name", "password"}, func(key string, at Place) {
		switch key {
		case "id":
			given = true
			u.ID = p.entryID("user", at, seen)
		case "name":
			u.Name = p.name("user", at)
		case "password":
			u.Password = p.password(at)
		}
	})
	if ok && !given {
		p.problems.Add(at, "a user has no id")
	}
	if ok && p.problems.count() == before {
		p.result.Users = append(p.result.Users, u)
	}
}

func (p *parser) password(at Place) *string {
	s, ok := p.text("the password of a user")
	if ok && s == "" {
		p.problems.Add(at, "the password of a user is empty; without the key, an existing user keeps theirs")
	}
	return &s
}

// name reads the name of a user or project.
func (p *parser) name(of string, at Place) string {
	s, _ := p.text("the name of a " + of) // reported where it is no string
	if len(s) > storage.MaxName {
		p.problems.Add(at, "the name of a %s has %d bytes, the most is %d", of, len(s), storage.MaxName)
	}
	return s
}

// project reads an entry of "projects"; seen has the places of those before.
func (p *parser) project(at Place, seen map[string]Place) {
	before := p.problems.count()
	pr := Project{Place: at}
	var given, listed bool
	ok := p.object("a project", []string{"id", "name", "members"}, func(key string, at Place) {
		switch key {
		case "id":
			given = true
			pr.ID = p.entryID("project", at, seen)
		case "name":
			pr.Name = p.name("project", at)
		case "members":
			listed = true
			pr.Members = p.members()
		}
	})
	if ok && !given {
		p.problems.Add(at, "a project has no id")
	}
	if ok && !listed {
		// Taking a missing list for an empty one would end all memberships.
		p.problems.Add(at, "a project has no members; write [] for one that is to have none")
	}
	if ok && p.problems.count() == before {
		p.result.Projects = append(p.result.Projects, pr)
	}
}

// members reads the members of a project.
func (p *parser) members() []Member {
	members := []Member{}
	seen := make(map[string]Place)
	p.array("the members of a project", func(at Place) {
		if id := p.entryID("member", at, seen); id != "" {
			members = append(members, Member{ID: id, Place: at})
		}
	})
	return members
}

// entryID reads an id that seen must not have yet. It returns "" where it
// reports a problem.
func (p *parser) entryID(what string, at Place, seen map[string]Place) string {
	id, ok := p.id(what)
	if !ok {
		return ""
	}
	if first, again := seen[id]; again {
		p.problems.Add(at, "%s %s appears twice, first at %d:%d", what, quote(id), first.Line, first.Column)
		return ""
	}
	seen[id] = at
	return id
}
