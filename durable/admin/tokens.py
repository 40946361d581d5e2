"""API tokens: made and revoked here; the text of a new one is shown once and kept nowhere."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from durable.conf import durable_settings
from durable.models import ApiToken, AuditEntry


def who(request: HttpRequest) -> str:
    """The user, as the audit log names them."""
    return f"user:{request.user.get_username()}"


class ApiTokenForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = ApiToken
        fields = ["name", "scopes"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        scopes = self.fields.get("scopes")
        if isinstance(scopes, forms.MultipleChoiceField):
            scopes.choices = [(scope, scope) for scope in durable_settings().api_scopes]


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    form = ApiTokenForm
    list_display = ["name", "shown_prefix", "shown_scopes", "created_at", "last_used_at", "revoked_at"]
    search_fields = ["name", "prefix"]
    actions = ["revoke"]

    @admin.display(description="begins with")
    def shown_prefix(self, token: ApiToken) -> str:
        return f"dr_{token.prefix}_…"

    @admin.display(description="scopes")
    def shown_scopes(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> list[str]:
        if obj is None:
            return []
        return ["name", "scopes", "shown_prefix", "created_at", "last_used_at", "revoked_at"]

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False  # revoked tokens stay, so that the audit log keeps its meaning

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        if change:
            return
        made, text = ApiToken.prepare(obj.name, obj.scopes)
        obj.prefix, obj.digest, obj.scopes = made.prefix, made.digest, made.scopes
        super().save_model(request, obj, form, change)
        AuditEntry.record(who(request), "token.create", token=str(obj), scopes=obj.scopes)
        request.new_api_token = text  # type: ignore[attr-defined]  # travels to response_add only

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Token created",
            "opts": self.opts,
            "token": obj,
            "text": request.new_api_token,  # type: ignore[attr-defined]
        }
        response = TemplateResponse(request, "admin/durable/apitoken/created.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @admin.action(description="Revoke selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        for token in queryset:
            AuditEntry.record(who(request), "token.revoke", token=str(token))
            token.revoke()
        self.message_user(request, "Revoked. Gateways refuse them within a second.", messages.SUCCESS)
