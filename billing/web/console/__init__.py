'''The operator's console: people sign in, choose a merchant, see what happens and change what may be changed.

How to add a section of pages:

1. Write `billing/web/console/<noun>s.py` with a `router`, and name the module in `app.py`'s `SECTIONS`. That is all
   the wiring there is: the navigation shows a section as soon as its router is there.

        router = Section("Plans", "/plans")          # its name in the navigation, and where it begins

        @router.page("/plans", Role.VIEWER)          # GET /console/{merchant}/plans, and the role it needs
        async def list_plans(desk: Seated) -> Response:
            """Show the plans."""
            async with desk.ctx.store.read() as session:
                mine = select(_plan).where(_plan.c.merchant_id == desk.merchant_id)
                part = await part_of(desk, session, mine, _plan.c.id)
            return desk.show("plans.html", part=part)

        @router.action("/plans/{plan}/rename", Role.OPERATOR)   # POST; the form's token is checked before
        async def rename_plan(desk: Seated, plan: str) -> Response:
            """Give a plan another name."""

            async def effect(session: AsyncSession, values: Values) -> None:
                row = await find_plan(session, desk.merchant_id, plan, desk.ctx)
                await rename(session, row["id"], values["name"])
                await desk.note(session, "rename_plan", plan, name=values["name"])

            draft = await desk.attempt(RENAME.read(desk.typed), effect)
            if draft.is_wrong:
                return desk.show("plan_rename.html", draft=draft, plan=plan)
            return desk.done(f"/plans/{plan}", "The plan has its new name.")

   A route without a role cannot be declared. A page that has a script says so in its template's `script` block, and
   works without it. Whatever is another merchant's is found by nobody: raise `MissingError`, which is the 404 page.

2. A form is one `Form` of `Field`s (`forms.py`). `FORM.blank(name="...")` is what is shown first, and
   `FORM.read(desk.typed)` what came back, with `values` as each field's `read` returned them. `desk.attempt` runs the
   effect in one transaction if every field is good; `UnfitError` from a service becomes an error beside the field it
   names, `ConflictError` a note above the form. What was typed stays, save passwords.

3. A template extends `base.html`, sets `title`, and fills `main`; its pieces are in `parts.html`, known as `p`:

        {% extends "base.html" %}
        {% block title %}Rename {{ plan }}{% endblock %}
        {% block main %}
        {{ p.head("Rename " ~ plan, crumb=[(desk.url("/plans"), "Plans")]) }}
        {% call p.form(desk.url("/plans/" ~ plan ~ "/rename"), draft) %}
          {{ p.fields(draft) }}
          {{ p.submit("Rename plan", back=desk.url("/plans/" ~ plan)) }}
        {% endcall %}
        {% endblock %}

   `w` writes for the reader: `w.money(minor, currency)`, `w.day(date)`, `w.short(date)`, `w.moment(instant)`,
   `w.time(instant)`, `w.count(number)`; instants are shown in the merchant's zone. `p.badge(state)` shows any state
   of the house as word, shape and colour. `desk.may("operator")` hides what the user may not do.

4. Test it with `tests/billing/web/console/support.py`; the route table's own tests (who may do what, forged forms,
   other merchants) find the new routes by themselves, if `THEIRS` in `test_gate.py` has a name for what they name.
'''
