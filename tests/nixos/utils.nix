# The stand-in for NixOS's `utils`: quoting for Exec lines, as NixOS does it.
{ lib }:
rec {
  escapeSystemdExecArg = arg: builtins.replaceStrings [ "%" "$" ] [ "%%" "$$" ] (builtins.toJSON (toString arg));
  escapeSystemdExecArgs = lib.concatMapStringsSep " " escapeSystemdExecArg;
}
