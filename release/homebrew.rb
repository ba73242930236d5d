# `brew install sealkit/tap/seal`: release/build fills this in; it goes to the tap as Formula/seal.rb.
class Seal < Formula
  desc "Encrypt Kubernetes Secrets so that they can be committed"
  homepage "https://github.com/sealkit/sealkit"
  version "@VERSION@"
  license "Apache-2.0"

  # each platform
  on_@BREW_OS@ do
    on_@BREW_CPU@ do
      url "@URL@"
      sha256 "@SHA256@"
    end
  end
  # end

  def install
    bin.install "seal"
    bin.install_symlink "seal" => "kubectl-seal"
    generate_completions_from_executable(bin/"seal", "completions")
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/seal version")
  end
end
